"""Tables of the chapters, made from the notebooks while the page is read: they cannot go stale.

    ```{chapters} claims
    ```

``claims``: each chapter with its claim and its modules. ``exercises``: its exercises with
their points and minutes, the minutes to read it, and which chapters it needs. ``path``: the
sections of the two-hour path, with their minutes.
"""

import sys
from pathlib import Path

import nbformat
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

BOOK = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(BOOK))
import chapters  # noqa: E402
import page  # noqa: E402


def claims():
    return chapters.table(
        ["chapter", "its claim", "module"],
        (
            (
                f"[{chapter.title}]({chapter.name}.ipynb)",
                chapter.claim,
                ", ".join(f"{{py:mod}}`vaelib.{module}`" for module in chapter.modules) or "–",
            )
            for chapter in chapters.chapters()
        ),
    )


def exercises():
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


def path():
    rows, total = [], 0.0
    for chapter in chapters.chapters():
        if not chapter.short_path:
            continue
        sections = page.measure(nbformat.read(chapter.path, as_version=4)).sections
        on_it = [section for section in sections if section.anchor in chapter.short_path]
        links = "; ".join(f"[{section.title}]({section.anchor})" for section in on_it)
        minutes = sum(section.minutes for section in on_it)
        total += minutes
        rows.append((f"[{chapter.name}]({chapter.name}.ipynb)", links, round(minutes)))
    return chapters.table(["chapter", "its ◆ sections", "minutes"], [*rows, ("", "", round(total))])


class Chapters(SphinxDirective):
    required_arguments = 1
    tables = {"claims": claims, "exercises": exercises, "path": path}  # noqa: RUF012

    def run(self):
        if self.arguments[0] not in self.tables:
            raise self.error(f"expected one of {[*self.tables]}, got {self.arguments[0]!r}")
        for source in (__file__, chapters.__file__, page.__file__, chapters.ROOT / "_toc.yml"):
            self.env.note_dependency(str(source))
        for chapter in chapters.chapters():
            self.env.note_dependency(str(chapter.path))
        # nested_parse reads Markdown here, with its roles, links and formulas.
        found = nodes.Element()
        lines = StringList(self.tables[self.arguments[0]]().splitlines(), source=self.env.docname)
        self.state.nested_parse(lines, self.content_offset, found)
        return found.children


def setup(app):
    app.add_directive("chapters", Chapters)
    return {"parallel_read_safe": True}
