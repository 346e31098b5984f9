"""Draw the picture that opens README.md: the front page's figure, before anybody starts it."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from vaelib.course import figures  # noqa: E402

FILE = ROOT / "book" / "front.png"


def picture() -> tuple[bytes, str]:
    """The still of the figure that book/index.md names, as PNG, and its alternative text."""
    (name,) = re.findall(r"\{live-figure\} (\w+)", (ROOT / "book" / "index.md").read_text())
    data, metadata = getattr(figures, name)()._repr_mimebundle_()
    return data["image/png"], metadata["image/png"]["alt"]


if __name__ == "__main__":
    content, alt = picture()
    FILE.write_bytes(content)
    print(f"{FILE.relative_to(ROOT)}: {len(content) / 1000:.0f} kB; in words: {alt}")
