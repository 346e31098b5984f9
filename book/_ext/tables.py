"""What is told of all chapters, made from the notebooks while the page is read: it cannot go stale.

    ```{chapters} cards
    ```

``cards``: each chapter with its first picture, its claim in short, and its minutes. ``facts``: how
much there is, and what it costs. ``path``: the two-hour path, with its minutes. ``exercises``: a
table of each chapter's exercises with their points and minutes, the minutes to read it, and which
chapters it needs.
"""

import html
import json
import re
import sys
import tomllib
from functools import cache
from pathlib import Path

import nbformat
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

BOOK = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(BOOK))
import chapters  # noqa: E402
import figures  # noqa: E402
import page  # noqa: E402
import thumbnails  # noqa: E402

PICTURE = '<img class="thumbnail" alt="{alt}" src="{source}" width="{width}" height="{height}">'


def cards(put, folder):
    told = []
    for chapter in chapters.chapters():
        content, ending, alt = thumbnails.thumbnail(json.loads(chapter.path.read_text()))
        picture = PICTURE.format(
            alt=html.escape(alt), source=f"{folder}/{put(content, ending)}",
            width=thumbnails.WIDTH, height=thumbnails.HEIGHT,
        )  # fmt: skip
        work = sum(exercise.minutes for exercise in chapter.exercises)
        path = f" · ◆ {minutes_on_path(chapter)} min"
        if not chapter.short_path:  # what it takes is its exercises
            path = f" · exercises {work} min"
        lines = (
            f"[{chapter.title}]({chapter.name}.ipynb)",
            chapter.card,
            f"{chapter.minutes} min{path}",
        )
        told.append("\n\n  ".join([f"- {picture}", *lines]))
    return listed("chapter-cards", "\n\n".join(told))


def facts(put, folder):
    known = chapters.chapters()
    count = sum(len(chapter.exercises) for chapter in known)
    project = tomllib.loads((chapters.ROOT / "pyproject.toml").read_text())["project"]
    code = project["license"].split()[0]
    text = re.search(r"\((CC BY [\d.]+)\)", (chapters.ROOT / "LICENSE-book").read_text())[1]
    return listed(
        "facts",
        f"- **{len(known)}** chapters\n- **{count}** exercises, checked at once\n"
        f"- **a CPU** is enough\n- **free**: code {code}, text {text}",
    )


def listed(name, items):
    """A list that the page's style knows by this name."""
    return f"::::{{div}} {name}\n{items}\n::::\n"


def exercises(put, folder):
    rows = [
        (
            f"[{chapter.name}]({chapter.name}-exercises)",
            len(chapter.exercises),
            sum(exercise.points for exercise in chapter.exercises),
            sum(exercise.minutes for exercise in chapter.exercises),
            chapter.minutes,
            ", ".join(chapter.needs) or "–",
        )
        for chapter in chapters.chapters()
        if chapter.exercises
    ]
    sums = (sum(column) for column in list(zip(*rows, strict=True))[1:-1])
    return chapters.table(
        ["chapter", "exercises", "points", "minutes for them", "minutes to read", "needs"],
        [*rows, ("all", *sums, "")],
    )


@cache
def sections(path):
    return page.measure(nbformat.read(path, as_version=4)).sections


def on_path(chapter):
    """The sections of a chapter that lie on the two-hour path, in the order of the page."""
    return [one for one in sections(chapter.path) if one.anchor in chapter.short_path]


def minutes_on_path(chapter):
    return round(sum(section.minutes for section in on_path(chapter)))


def path(put, folder):
    stations = [
        f"[{chapter.name}]({on_path(chapter)[0].anchor}) {minutes_on_path(chapter)}"
        for chapter in chapters.chapters()
        if chapter.short_path
    ]
    total = sum(map(minutes_on_path, chapters.chapters()))
    return f"{' · '.join(stations)}; {total} minutes in all.\n"


class Chapters(SphinxDirective):
    required_arguments = 1
    tables = {"cards": cards, "exercises": exercises, "facts": facts, "path": path}  # noqa: RUF012

    def run(self):
        if self.arguments[0] not in self.tables:
            raise self.error(f"expected one of {[*self.tables]}, got {self.arguments[0]!r}")
        modules = (chapters, figures, page, thumbnails, sys.modules[__name__])
        sources = ("_toc.yml", "pyproject.toml", "LICENSE-book")
        for source in [m.__file__ for m in modules] + [chapters.ROOT / name for name in sources]:
            self.env.note_dependency(str(source))
        for chapter in chapters.chapters():
            self.env.note_dependency(str(chapter.path))
        # nested_parse reads Markdown here, with its roles, links and formulas.
        found, docname = nodes.Element(), self.env.docname
        told = self.tables[self.arguments[0]](
            figures.keeper(self.env, docname), figures.beside(docname)
        )
        lines = StringList(told.splitlines(), source=docname)
        self.state.nested_parse(lines, self.content_offset, found)
        return found.children


def setup(app):
    app.add_directive("chapters", Chapters)
    return {"parallel_read_safe": True}
