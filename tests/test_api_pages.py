"""The package's pages: one for each module, each with an example that runs and says what it prints.

And each public function and class has an example of its own, by the rules of `shown_elsewhere`.
"""

import importlib
import inspect
import re
import tomllib
import typing
from functools import cache

import pytest
import yaml
from chapters import ROOT

from vaelib.course.figures import Figure

BOOK = ROOT / "book"
# Not pages of their own: what `python -m` runs, and an old name; parts of course's own page.
LEFT_OUT = {"vaelib.__main__", "vaelib.checks", "vaelib.course.recordings", "vaelib.course.tables"}
WORDS = 100  # of a page before its functions


def modules():
    """Of the contract in pyproject.toml, which is exhaustive: every module that has a layer."""
    found = set()
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]:
        for line in contract["layers"]:
            names = {f"{contract['containers'][0]}.{name.strip()}" for name in line.split("|")}
            found |= names
    return found - LEFT_OUT


def rows(text=None):
    """From a module to its page, as the tables of the entry say."""
    text = (BOOK / "api.md").read_text() if text is None else text
    return dict(re.findall(r"(?m)^\| \[`(vaelib[\w.]*)`\]\(api/(\w+)\.md\) \| .+ \|$", text))


PAGES = rows()


def text_of(page):
    return (BOOK / "api" / f"{page}.md").read_text()


def test_every_module_has_its_page_and_its_line():
    assert set(PAGES) == modules()
    assert {path.stem for path in (BOOK / "api").glob("*")} == {*PAGES.values()}
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text())["parts"]
    entries = [entry for part in parts for entry in part["chapters"]]
    (entry,) = [entry for entry in entries if entry["file"] == "book/api"]
    listed = [section["file"] for section in entry["sections"]]
    assert listed == [f"book/api/{page}" for page in PAGES.values()]  # in one order


@pytest.mark.parametrize("module", PAGES)
def test_a_page_says_what_its_module_is_for(module):
    text = text_of(PAGES[module])
    head = rf"\(api-{PAGES[module]}\)=\n# `{re.escape(module)}`: .+\n\n"
    found = re.fullmatch(rf"(?s){head}(.+)\n\n```python\n(.+?)```\n(.*)", text)
    assert found, f"book/api/{PAGES[module]}.md: heading, words, an example, its functions"
    words, example, rest = found.groups()
    assert len(words.split()) <= WORDS
    assert 2 <= len(re.findall(r"[.:](?= [A-Z`[]|$)", words)) <= 6  # sentences
    assert len(example.splitlines()) <= 13
    assert max(map(len, example.splitlines())) <= 88
    # `main` is all that the command line has; its page says so in words.
    assert module == "vaelib.cli" or re.search(
        rf"automodule:: {re.escape(module)}\n   :members:", rest
    )


@pytest.mark.parametrize("module", PAGES)
def test_a_page_shows_all_that_its_module_offers(module):
    named = re.search(r"(?m)^   :members: (.+)$", text_of(PAGES[module]))
    if named:
        offered = importlib.import_module(module).__all__
        # EXERCISES and what it holds are instances; each has its exercise's text in its chapter.
        kinds = {name for name in offered if public(getattr(importlib.import_module(module), name))}
        assert {*named[1].split(", ")} == kinds


def example_of(text):
    return re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]


@pytest.mark.parametrize("page", PAGES.values())
def test_the_example_of_a_page_runs_and_says_what_it_prints(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = example_of(text_of(page))
    exec(compile(code, f"book/api/{page}.md", "exec"), {"__name__": "__main__"})
    said = re.findall(r"(?m)^ *(?:print|checks\.\w+|diagnose)\(.*\)  # (.+)$", code)
    assert said or "check_model" in code
    assert capsys.readouterr().out.splitlines() == said


def test_the_example_of_the_entry_is_the_way_to_train():
    """Run by the soak of chapter train's recipe; here, that it compiles and names what there is."""
    code = example_of((BOOK / "api.md").read_text())
    compile(code, "book/api.md", "exec")
    for module, name in re.findall(r"\b(data|evaluate|nets|train)\.(\w+)\(", code):
        assert name in importlib.import_module(f"vaelib.{module}").__all__


def public(thing):
    return inspect.isclass(thing) or inspect.isroutine(thing)


def has_example(thing):
    """In its own words, or in those of one of a class's methods."""
    parts = [thing, *(vars(thing).values() if inspect.isclass(thing) else [])]
    return any(">>>" in (getattr(part, "__doc__", None) or "") for part in parts)


@cache
def returned(function):
    """The classes that a function's annotation says it returns."""
    try:
        told = typing.get_type_hints(function).get("return")
    except (NameError, TypeError):
        return set()
    return {one for one in (told, *typing.get_args(told)) if inspect.isclass(one)}


def shown_elsewhere(thing, offered):
    """What needs no example of its own, by rule:

    - what a function or method returns that has an example, such as `vaelib.elbo.Terms`;
    - a base to be subclassed, if a subclass of it has an example;
    - a live figure, which a chapter or the front page shows;
    - methods, which are no names of a module: the example of their class is theirs.
    """
    if not inspect.isclass(thing):
        return False
    if issubclass(thing, Figure) or thing.__name__ == "Network":
        shown = [*BOOK.glob("*.ipynb"), BOOK / "index.md"]
        used = rf"\b{thing.__name__}\b" if thing is not Figure else "ElboGap"
        return any(re.search(used, path.read_text()) for path in shown)
    for other in filter(has_example, offered):
        methods = vars(other).values() if inspect.isclass(other) else []
        calls = [other, *filter(inspect.isroutine, methods)]
        if other is not thing and any(thing in returned(call) for call in calls):
            return True
    return any(
        inspect.isclass(other) and other is not thing and issubclass(other, thing)
        for other in offered
        if has_example(other)
    )


def without_example():
    """Names of all that the package offers and shows nowhere."""
    offered = {
        thing: f"{name}.{part}"
        for name in sorted(PAGES)
        for part in importlib.import_module(name).__all__
        if public(thing := getattr(importlib.import_module(name), part))
    }
    return {
        name
        for thing, name in offered.items()
        if not has_example(thing) and not shown_elsewhere(thing, offered)
    }


def test_every_public_name_has_an_example():
    assert without_example() == set()


def test_a_name_without_an_example_is_found(monkeypatch):
    """Both halves of the rule can fail."""
    from vaelib import elbo

    monkeypatch.setattr(elbo.elbo, "__doc__", "The mean.")
    monkeypatch.setattr(elbo.terms, "__doc__", "The two terms.")
    assert without_example() >= {"vaelib.elbo.elbo", "vaelib.elbo.terms"}
