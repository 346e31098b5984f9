"""The short path through the course: its sections have a mark, and each leads on to the next.

A chapter's metadata (``chapter.path``) name them by their targets, in order; the chapters follow
each other as in the table of contents. The mark is the site's: notebooks know nothing of it.
"""

import sys
from itertools import pairwise
from pathlib import Path

from docutils import nodes

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import chapters

WORDS = "on the two-hour path"
MARK = f'<span class="short-path" role="img" title="{WORDS}" aria-label="{WORDS}">◆</span>'


def steps(paths):
    """From each section of the path to the one after it, whatever its chapter; the last has none.

    Raises:
        ValueError: if a section stands on the path twice.
    """
    all_of_them = [target for path in paths for target in path]
    twice = {target for target in all_of_them if all_of_them.count(target) > 1}
    if twice:
        raise ValueError(f"expected each section once on the short path, got {sorted(twice)} twice")
    return dict(pairwise([*all_of_them, None])) if all_of_them else {}


def walk():
    return steps(chapter.short_path for chapter in chapters.chapters())


def mark(app, doctree, docname):
    if app.builder.format != "html":
        return
    labels = app.env.domaindata["std"]["labels"]
    for section in doctree.findall(nodes.section):
        for target in set(section["ids"]) & app.env.short_path.keys():
            section[section.first_child_matching_class(nodes.title)].insert(
                0, nodes.raw("", MARK, format="html")
            )
            section += leads_on(app, docname, app.env.short_path[target], labels)


def leads_on(app, docname, target, labels):
    line = nodes.paragraph(classes=["short-path-next"])
    if target is None:
        line += nodes.Text("◆ The two-hour path ends here.")
        return line
    page, anchor, title = labels[target]
    address = f"#{anchor}"
    if page != docname:
        address = app.builder.get_relative_uri(docname, page) + address
    line += nodes.Text("◆ Two-hour path, next: ")
    line += nodes.reference("", title, internal=True, refuri=address)
    return line


def look_at_paths(app, env, added, changed, removed):
    """A section whose next one has changed is written anew, and so is one that has joined."""
    before, env.short_path = getattr(env, "short_path", None), walk()
    if before in (None, env.short_path):
        return []
    return [env.path2doc(str(chapter.path)) for chapter in chapters.chapters()]


def check(app, env):
    missing = env.short_path.keys() - env.domaindata["std"]["labels"].keys()
    if missing:
        raise ValueError(f"the short path leads to no section: {', '.join(sorted(missing))}")


def setup(app):
    app.connect("env-get-outdated", look_at_paths)
    app.connect("env-updated", check)
    app.connect("doctree-resolved", mark)
    return {"parallel_read_safe": True}
