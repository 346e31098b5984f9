"""What all interactive figures share: a script, and a still picture where scripts do not run."""

import io
import json
import re
from pathlib import Path
from typing import Any, ClassVar

import anywidget
import matplotlib.style
from matplotlib.figure import Figure as Still
from PIL import Image

__all__ = ["Figure", "Still", "script"]

HERE = Path(__file__).resolve().parent


def script(name: str) -> str:
    """One ES module from ``figure.js`` and the figure's own file, for a page without a network.

    The figure's ``import … from "./figure.js"`` is replaced by the file itself, once for each file
    that is named in this way. ``import NAME from "./worker.js" with { type: "text" }`` is the text
    of such a module without its exports, of which a figure makes a worker: a classic one, because
    a frame without an origin, which some notebooks show figures in, may not start another.
    """
    seen: set[str] = set()

    def unexported(name: str) -> str:
        return re.sub(r"^export (?!default)", "", script(name), flags=re.MULTILINE)

    def read(file: str) -> str:
        if file in seen:
            return ""
        seen.add(file)
        text = re.sub(
            r'^import (\w+) from "\./(\w+)\.js" with \{ type: "text" \};$',
            lambda found: f"const {found[1]} = {json.dumps(unexported(found[2]))};",
            (HERE / file).read_text(encoding="utf-8"),
            flags=re.MULTILINE,
        )
        return re.sub(
            r'^import \{[^}]*\} from "\./([\w.]+)";\n',
            lambda found: read(found[1]),
            text,
            flags=re.MULTILINE,
        )

    return read(f"{name}.js")


class Figure(anywidget.AnyWidget):
    """An interactive figure: a widget whose settings are traits, drawn by a script in the page.

    It moves in Jupyter, in Colab and on the site, where no kernel runs. In a live notebook,
    ``figure.loc = 1.0`` moves it, and ``figure.observe(function, names="loc")`` hears of a drag.
    """

    description: ClassVar[str]  # the still picture in words

    def still(self) -> Still:
        """The figure with its present settings as a picture, for print and for a git host."""
        raise NotImplementedError

    def words(self) -> str:
        """What the still picture shows, with the present settings."""
        return self.description

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data, metadata = super()._repr_mimebundle_(**options) or ({}, {})
        drawn, page = io.BytesIO(), io.BytesIO()
        with matplotlib.style.context("default"):  # not that of the notebook
            self.still().savefig(drawn, format="png", dpi=80)
        # It lies in the page itself, beside the figure: 64 colours are a third of the bytes.
        Image.open(drawn).convert("RGB").quantize(64).save(page, format="png", optimize=True)
        data["image/png"] = page.getvalue()
        metadata = metadata | {"image/png": {"alt": self.words()}}
        return data | {"text/plain": repr(self)}, metadata

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"
