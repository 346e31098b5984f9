"""The learner's copies: up to date, plain, without solutions, running outside the repository."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from chapters import chapters
from nbclient import NotebookClient
from test_course import CHAPTERS

ROOT = Path(__file__).resolve().parent.parent
LEARNER = ROOT / "learner"
sys.path.insert(0, str(ROOT / "grading"))
pytestmark = pytest.mark.filterwarnings("ignore")  # nbgrader and what it brings warn on import

COPIES = {
    path.stem: nbformat.read(path, as_version=4) for path in (LEARNER / "book").glob("*.ipynb")
}
each = pytest.mark.parametrize("chapter", CHAPTERS)


def test_the_copies_are_not_stale(capsys):
    from learner import main

    assert main(["--check"]) == 0, capsys.readouterr().out


def test_the_folder_holds_notebooks_and_nothing_else():
    files = [p.relative_to(LEARNER) for p in LEARNER.rglob("*") if p.is_file()]
    assert sorted(files) == sorted(Path("book") / f"{name}.ipynb" for name in CHAPTERS)


@each
def test_no_solution_no_output_no_hidden_test(chapter):
    text = json.dumps(COPIES[chapter])
    for mark in ("SOLUTION", "HIDDEN", ".grade(", "Why this is right"):
        assert mark not in text
    original = nbformat.read(ROOT / "book" / f"{chapter}.ipynb", as_version=4)
    assert sorted(COPIES[chapter].metadata) == ["kernelspec", "language_info"]
    for cell in COPIES[chapter].cells:
        assert not cell.get("outputs")
    for cell in original.cells:
        if cell.metadata.get("nbgrader", {}).get("solution"):
            solved = re.search(r"### BEGIN SOLUTION\n(.*?)### END", cell.source, re.DOTALL)[1]
            assert json.dumps(solved.strip())[1:-1] not in text


@each
def test_checks_stay_behind_the_page_and_all_else_is_there(chapter):
    original = nbformat.read(ROOT / "book" / f"{chapter}.ipynb", as_version=4)
    own = [cell.source for cell in COPIES[chapter].cells if cell.cell_type == "code"]
    for cell in original.cells:
        if cell.cell_type == "code" and not cell.metadata.get("nbgrader"):
            kept = "checked" not in cell.metadata.get("tags", [])
            assert (cell.source in own) == kept, cell.source
    assert not any("This page checks" in cell.source for cell in COPIES[chapter].cells)


@each
def test_the_words_are_plain_markdown(chapter):
    for cell in COPIES[chapter].cells:
        if cell.cell_type != "markdown":
            continue
        words = re.sub(r"```.*?```|\$\$.*?\$\$|\$[^$]*\$", "", cell.source, flags=re.DOTALL)
        assert not re.search(r"\{[a-z:]+\}`", words), "a role"
        assert not re.search(r"(?m)^:::|^```\{|^\([\w-]+\)=|^% |^:\w+:", words), cell.source
        assert words.count("<details>") == words.count("</details>")
        for link in re.findall(r"\]\(([^)]+)\)", words):
            assert re.match(r"#|https?://|\.\./\.\./book/|\w+\.ipynb", link), link


@each
def test_links_between_the_copies_lead_somewhere(chapter):
    anchors = {
        name: set(re.findall(r'<a id="([\w-]+)">', "".join(c.source for c in copy.cells)))
        for name, copy in COPIES.items()
    }
    text = "\n".join(c.source for c in COPIES[chapter].cells if c.cell_type == "markdown")
    for other, target in re.findall(r"\]\((?:(\w+)\.ipynb)?#([\w-]+)\)", text):
        assert target in anchors[other or chapter]
    for page in re.findall(r"\]\(\.\./\.\./book/(\w+\.md)", text):
        assert (ROOT / "book" / page).exists()


def address():
    return yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]


@each
def test_the_install_cell_has_the_address(chapter):
    first = next(c for c in COPIES[chapter].cells if c.cell_type == "code").source
    assert 'find_spec("vaelib") is None' in first
    if address():
        assert f'"vaelib[course] @ git+{address()}"' in first
    else:
        assert "pip install '.[course]'" in first


def test_the_badges_have_the_address():
    from repo import BADGES, badges

    (found,) = BADGES.finditer((ROOT / "README.md").read_text())
    assert found[0] == f"<!-- badges -->\n{badges(address())}<!-- end of badges -->\n"


def test_the_address_is_set_in_one_place(tmp_path):
    from repo import write

    for name in ("_config.yml", "README.md"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    before = {name: (tmp_path / name).read_text() for name in ("_config.yml", "README.md")}
    url = "https://github.com/some-body/a.course"
    write(url, tmp_path)
    settings = yaml.safe_load((tmp_path / "_config.yml").read_text())
    assert settings["repository"] == {"url": url, "branch": "main", "path_to_book": "learner"}
    assert settings["launch_buttons"]["colab_url"].startswith("https://colab")
    readme = (tmp_path / "README.md").read_text()
    assert f"({url}/actions)" in readme
    assert f"github/some-body/a.course/blob/main/learner/book/{CHAPTERS[0]}.ipynb" in readme
    write(address(), tmp_path)
    assert before == {name: (tmp_path / name).read_text() for name in before}
    for bad in ("github.com/a/b", "https://github.com/a", "https://example.org/a/b"):
        with pytest.raises(ValueError, match="expected https"):
            write(bad, tmp_path)


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """vaelib installed by pip, outside the repository."""
    folder = tmp_path_factory.mktemp("installed")
    options = ["--quiet", "--no-deps", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", folder, wheel]
    subprocess.run(command, check=True)
    return folder


def run_as_learner(chapter, installed, folder, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(installed))
    copy = nbformat.from_dict(COPIES[chapter])
    copy.cells.append(nbformat.v4.new_code_cell("import vaelib; print(vaelib.__file__)"))
    NotebookClient(copy, timeout=600, kernel_name="python3").execute(cwd=str(folder))
    printed = "".join(o.get("text", "") for o in copy.cells[-1].outputs)
    assert printed.startswith(str(installed))
    asked = [cell for cell in copy.cells if re.fullmatch(r"checks\.\w+\(\w+\)", cell.source)]
    assert len(asked) == len({told.name: told for told in chapters()}[chapter].exercises)
    for cell in asked:
        # A kernel may send a line and its end apart.
        said = "".join(output.text for output in cell.outputs)
        assert said.endswith(": not attempted\n")
    assert list(folder.iterdir()) == []


def test_a_copy_runs_from_top_to_bottom_unanswered(installed, tmp_path, monkeypatch):
    run_as_learner("kl", installed, tmp_path, monkeypatch)


@pytest.mark.soak
@each
def test_every_copy_runs_from_top_to_bottom_unanswered(chapter, installed, tmp_path, monkeypatch):
    run_as_learner(chapter, installed, tmp_path, monkeypatch)
