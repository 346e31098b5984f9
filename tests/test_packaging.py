"""Packaging: what vaelib asks for, what its wheel holds, and that importing it stays cheap."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import vaelib

ROOT = Path(__file__).resolve().parent.parent

# Colab's published package list of 2026-08-19, as far as vaelib could collide with it.
COLAB = {
    "anywidget": "0.9.21",
    "ipykernel": "6.17.1",
    "ipython": "7.34.0",
    "ipywidgets": "7.7.1",
    "matplotlib": "3.10.0",
    "numpy": "2.1.3",
    "pandas": "2.2.3",
    "pillow": "11.3.0",
    "pooch": "1.9.0",
    "safetensors": "0.8.0",
    "scikit-learn": "1.6.1",
    "scipy": "1.16.3",
    "seaborn": "0.13.2",
    "torch": "2.11.0",
    "tqdm": "4.67.3",
    "traitlets": "5.7.1",
}
# Not on Colab: pip adds them there, and they require nothing that is (checked below).
ADDED = {"jaxtyping"}


def requirements(name, extra=""):
    found = [Requirement(line) for line in metadata.requires(name) or []]
    return [r for r in found if r.marker is None or r.marker.evaluate({"extra": extra})]


def test_installing_on_colab_replaces_nothing():
    names = set()
    for requirement in requirements("vaelib", "course"):
        names.add(requirement.name)
        if requirement.name in ADDED:
            assert not {r.name for r in requirements(requirement.name)} & COLAB.keys()
            continue
        assert requirement.specifier.contains(Version(COLAB[requirement.name])), requirement
    assert "torch" in names
    assert not names & {"jupyter-book", "sphinx", "pytest", "nbval", "beartype", "ipykernel"}


def test_requirements_are_lower_bounds_without_caps():
    for requirement in requirements("vaelib", "course"):
        operators = {spec.operator for spec in requirement.specifier}
        assert operators <= {">=", "!="}, requirement
        assert ">=" in operators, requirement


def test_pins_are_exact_and_within_the_ranges():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    asked = [line for line in lines if line and not line.startswith("#")]
    assert asked[-1] == "-e ."
    pins = {}
    for line in asked[:-1]:
        name, version = re.fullmatch(r"([\w.-]+)==([\w.]+)", line).groups()
        pins[name.lower()] = version
    for requirement in requirements("vaelib", "course"):
        assert requirement.specifier.contains(Version(pins[requirement.name])), requirement
    assert pins.keys() >= {"jupyter-book", "torch", "ipywidgets", "seaborn", "scipy", "nbval"}


def test_what_the_library_asks_for_is_not_what_the_course_draws_with():
    core = {r.name for r in requirements("vaelib")}
    assert core == {"jaxtyping", "numpy", "pillow", "pooch", "safetensors", "torch", "tqdm"}
    drawn = {r.name for r in requirements("vaelib", "course")} - core
    assert drawn == {"anywidget", "matplotlib", "scipy", "seaborn"}


def test_only_the_course_draws():
    """No module outside of it imports what the extra brings, at its top or within a function."""
    drawn = {r.name for r in requirements("vaelib", "course")} - {
        r.name for r in requirements("vaelib")
    }
    found = {}
    for path in (ROOT / "vaelib").rglob("*.py"):
        if "course" in path.parts[len(ROOT.parts) :]:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found |= {n: path for n in names if n.split(".")[0] in drawn | {"pandas", "ipywidgets"}}
    assert not found


def test_version_and_citation_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert vaelib.__version__ == metadata.version("vaelib") == citation["version"]
    assert f"## {vaelib.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_wheel_holds_what_the_package_needs_and_no_more(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    source = ROOT / "vaelib"
    expected = {
        f"vaelib/{path.relative_to(source)}"
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if name.startswith("vaelib/")} == expected
    assert "vaelib/digits.npz" in names
    assert "vaelib/py.typed" in names
    info = {name.split("/", 1)[1] for name in names - expected}
    assert {"licenses/LICENSE", "licenses/NOTICE", "METADATA"} <= info


def test_the_wheel_works_without_the_course_and_its_tools(wheel, tmp_path):
    """Trains on a folder of pictures, evaluates and samples, from another place, in an interpreter
    that has neither what the extra brings nor Jupyter, Sphinx and pytest.
    """
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = """
import sys
for name in ("IPython", "ipykernel", "ipywidgets", "notebook", "jupyter_core", "nbformat",
             "sphinx", "pytest", "nbval", "beartype",
             "matplotlib", "seaborn", "pandas", "anywidget", "traitlets", "scipy"):
    sys.modules[name] = None  # an import of it now raises ImportError
sys.path.insert(0, sys.argv[1])
import vaelib
assert vaelib.__file__.startswith(sys.argv[1]), vaelib.__file__
from vaelib import amortized, data, elbo, evaluate, kl, latent, likelihood, nets, reparam
from vaelib import train, vae
from vaelib.cli import main
from PIL import Image
from pathlib import Path
Path("pictures").mkdir()
for i, image in enumerate(data.digits().train[:40]):
    Image.fromarray(image.view(28, 28).numpy()).save(f"pictures/{i}.png")
for words in (
    "train --data pictures --folder run --epochs 1 --hidden 8 --latent 2 --quiet",
    "evaluate run --images 2 --samples 2",
    "sample run --number 2",
):
    assert main(words.split()) == 0, words
assert Image.open("run/samples.png").size[0] > 28
"""
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr


def test_importing_loads_nothing_slow():
    """The benchmark (make bench) measures the time; what costs it is named here."""
    code = """
import sys, torch
before = set(sys.modules)
import vaelib
from vaelib import vae, train, evaluate
print(*{m.split(".")[0] for m in set(sys.modules) - before})
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    slow = {"scipy", "pandas", "matplotlib", "seaborn", "pooch", "tqdm", "IPython", "requests"}
    assert not slow & set(run.stdout.split())


def test_every_module_has_its_layer():
    """The contract is exhaustive by itself; this keeps its switch from being turned off."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert settings["contracts"][0]["exhaustive"] is True
    assert settings["contracts"][0]["type"] == "layers"


def test_the_tree_in_contributing_is_that_of_the_package(tmp_path):
    sys.path.insert(0, str(ROOT / ".ci"))
    import tree

    text = (ROOT / "CONTRIBUTING.md").read_text()
    assert tree.put(text) == text, "CONTRIBUTING's tree is stale: make lint writes it"
    # Made of what is there: a module more, and a layer, are a line more, and an arrow.
    (tmp_path / "vaelib" / "deep").mkdir(parents=True)
    for name in ("", "deep/"):
        (tmp_path / f"vaelib/{name}__init__.py").write_text('"""A package."""')
    (tmp_path / "vaelib/deep/new.py").write_text('"""One idea.\n\nAnd more."""')
    layers = 'type = "layers"\ncontainers = ["vaelib"]\nlayers = ["deep", "a | b"]\n'
    (tmp_path / "pyproject.toml").write_text(f"[[tool.importlinter.contracts]]\n{layers}")
    lines = tree.put(text, tmp_path).splitlines()
    assert "    new.py  One idea." in lines
    assert "vaelib:  a | b <- deep" in lines
