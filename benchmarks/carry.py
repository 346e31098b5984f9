"""What a bare machine lacks: put into one folder where it is at hand, and found there later.

A rented GPU often has torch and no network. `pack` writes the source, Fashion-MNIST and whatever
is pure Python among vaelib's requirements; `unpack`, on the other machine, lets Python find it.
Only Python's own library is imported in here before that.
"""

import gzip
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKED = ROOT / "packed"
SOURCE = ("vaelib", "benchmarks", "tests", "pyproject.toml")
IDX = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
# What is imported, and whether it is compiled for each machine: then it cannot be carried.
NEEDS = {"torch": True, "numpy": True, "safetensors": True, "jaxtyping": False, "tqdm": False}
# Pure Python: jaxtyping with what it needs, a bar, and what the tests need.
CARRIED = (
    *("jaxtyping", "wadler_lindig", "tqdm", "pooch", "platformdirs", "packaging"),
    *("pytest", "pluggy", "iniconfig", "pygments", "sortedcontainers", "mpmath"),
)


def pack(folder: Path) -> None:
    """Write a folder that runs on a bare machine: its ``benchmarks/gpu.py`` is the command.

    Args:
        folder: new, or this repository itself, which then only gets the folder ``packed``.

    Raises:
        FileExistsError: if something else is there.
        ConnectionError: if Fashion-MNIST is not at hand here either.
    """
    import provenance  # here, because torch need not be where this is unpacked
    import torch

    from vaelib import data

    folder, images = folder.resolve(), data.fashion_mnist()
    if folder != ROOT:
        if folder.exists():
            raise FileExistsError(f"{folder}: is there already; choose another folder")
        copy_source(folder)
    packed = folder / PACKED.name
    shutil.rmtree(packed, ignore_errors=True)
    (packed / "fashion-mnist").mkdir(parents=True)
    for name, values in zip(IDX, images, strict=False):
        content = idx(values.view(-1, 28, 28) if values.ndim == 2 else values)
        path = packed / "fashion-mnist" / f"{name}-ubyte.gz"
        path.write_bytes(gzip.compress(content, mtime=0))
    for name in CARRIED:
        copy_package(name, packed / "site")
    found = provenance.origin("", torch.device("cpu"))
    about = {"commit": found["commit"], "tree_changed": found["tree_changed"]}
    about["source"] = digest(folder)
    (packed / "origin.json").write_text(json.dumps(about, indent=1) + "\n")
    print(f"{folder}: copy it to the machine with the GPU; there, python benchmarks/gpu.py")


def idx(values) -> bytes:
    """A tensor of bytes as an IDX file: a magic number with the axes, their sizes, the bytes."""
    header = struct.pack(f">{1 + values.ndim}I", 0x800 + values.ndim, *values.shape)
    return header + values.contiguous().numpy().tobytes()


def copy_source(folder: Path) -> None:
    """What git tracks of the package, the scripts and the tests, without those of pages."""
    listed = subprocess.check_output(["git", "ls-files", "-z", *SOURCE], cwd=ROOT, text=True)
    for name in filter(None, listed.split("\0")):
        if not name.startswith("tests/browser/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def copy_package(name: str, site: Path) -> None:
    """An installed distribution, if it is pure Python."""
    distribution = importlib.metadata.distribution(name)
    if "Root-Is-Purelib: true" not in (distribution.read_text("WHEEL") or ""):
        print(f"{name}: is compiled for this machine, so it is not carried")
        return
    for file in distribution.files or ():
        if ".." in file.parts or "__pycache__" in file.parts:  # commands, and bytecode
            continue
        (site / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file.locate(), site / file)


def digest(root: Path) -> str:
    """A hash of the package and the scripts, by which a source without git is known."""
    whole = hashlib.sha256()
    for path in sorted(p for part in SOURCE[:2] for p in (root / part).rglob("*.py")):
        whole.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()[:16]


def unpack(fashion: Path | None = None) -> None:
    """Let Python find what was packed, and otherwise what this machine has.

    Args:
        fashion: the folder with the four files of Fashion-MNIST, if it is elsewhere.
    """
    if str(ROOT) not in sys.path:
        sys.path.insert(1, str(ROOT))  # the vaelib beside this file, whatever else is installed
    site = str(PACKED / "site")
    if Path(site).exists() and site not in sys.path:
        sys.path.append(site)  # last: what the machine has fits it better
    if fashion is not None:
        os.environ["VAELIB_DATA"] = str(fashion)
    elif (PACKED / "fashion-mnist").exists():
        os.environ.setdefault("VAELIB_DATA", str(PACKED / "fashion-mnist"))


def lacking() -> list[str]:
    """A line for each package that is not here, with what to do about it."""
    lines = []
    for name, compiled in NEEDS.items():
        if importlib.util.find_spec(name) is None:
            remedy = f"pip install {name}"
            if not compiled:
                remedy += ", or python benchmarks/gpu.py --pack FOLDER where it is"
            lines.append(f"{name} is not installed here: {remedy}")
    return lines


def origin() -> dict:
    """Commit and state of a source that was packed; nothing where there is no pack."""
    path = PACKED / "origin.json"
    if not path.exists():
        return {}
    about = json.loads(path.read_text())
    changed = about["tree_changed"] or about.pop("source") != digest(ROOT)
    return {"commit": about["commit"], "tree_changed": changed}
