"""Set the address of the repository, everywhere it is needed: make repo URL=https://github.com/…

`make repo URL=none` takes it away again.

It lives in _config.yml, from where the site's Colab buttons come. README's badges and the install
cells of the learner's notebooks are written from there.
"""

import re
import sys
from pathlib import Path

from vaelib import files

ROOT = Path(__file__).resolve().parent.parent
BADGES = re.compile(r"(<!-- badges -->\n).*?(<!-- end of badges -->\n)", re.DOTALL)
ADDRESS = re.compile(r'(?m)^(repository:\n  url: )"(.*)"$')


def badges(url: str) -> str:
    """README's lines for an address; none without one."""
    if not url:
        return ""
    colab = url.replace("https://github.com/", "https://colab.research.google.com/github/")
    return (
        f"[![tests]({url}/actions/workflows/test.yml/badge.svg)]({url}/actions)\n"
        "[![open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
        f"({colab}/blob/main/learner/book/start.ipynb)\n"
    )


def write(url: str, root: Path = ROOT) -> None:
    """Write the address into _config.yml and README.md.

    Raises:
        ValueError: if Colab could not open a notebook from there.
    """
    if url and not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", url):
        raise ValueError(
            f"got URL={url!r}; expected https://github.com/OWNER/NAME, without a slash at the end: "
            "Colab opens notebooks from there only"
        )
    for name, pattern, new in (
        ("_config.yml", ADDRESS, rf'\g<1>"{url}"'),
        ("README.md", BADGES, rf"\g<1>{badges(url)}\g<2>"),
    ):
        path = root / name
        text, count = pattern.subn(new, path.read_text())
        if count != 1:
            raise ValueError(
                f"{name} has no place for the address; git log shows what it looked like"
            )
        files.replace(path, text.encode())


if __name__ == "__main__":
    url = "".join(sys.argv[1:]).removesuffix("/").removesuffix(".git")
    if not url:
        sys.exit("address not set: say make repo URL=https://github.com/OWNER/NAME (or URL=none)")
    try:
        write("" if url == "none" else url)
    except ValueError as error:
        sys.exit(f"address not set: {error}")
    print(f"address: {url}; written into _config.yml and README.md")
