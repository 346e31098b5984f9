"""Build the site into _build/html as strictly as it goes, and print its first page's address."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "_build" / "html"
# Jupyter Book's own has no icon, so a browser may ask for one that is not there.
FIRST = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Variational autoencoders, checked</title>
<link rel="icon" href="_static/favicon.svg">
<meta http-equiv="refresh" content="0; url=book/index.html">
<a href="book/index.html">Variational autoencoders, checked</a>
</html>
"""


def main() -> int:
    # -n: each unresolved reference is a warning; -W: each warning fails; --keep-going: show all.
    command = [
        *(Path(sys.executable).parent / "jupyter-book", "build", "."),
        *("--path-output", ".", "-n", "-W", "--keep-going"),
    ]
    log = ROOT / "_build" / "book.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("w") as out:
        code = subprocess.run(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT).returncode
    if code or not (SITE / "index.html").exists():
        lines = log.read_text().splitlines()
        print("\n".join([x for x in lines if "WARNING" in x or "ERROR" in x] or lines[-40:]))
        print(f"the site was not built: see above, or {log.relative_to(ROOT)}")
        # Sphinx warns of a page only when it reads it: the next build has to read them all.
        shutil.rmtree(ROOT / "_build" / ".doctrees", ignore_errors=True)
        return 1
    (SITE / "index.html").write_text(FIRST)
    print(f"built {(SITE / 'index.html').as_uri()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
