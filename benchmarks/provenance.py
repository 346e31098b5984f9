"""Where numbers come from, and a file that holds them as they are made."""

import json
import os
import platform
import subprocess
from datetime import date
from pathlib import Path

import torch

from vaelib import files

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "vaelib" / "course" / "results"
FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


def machine(device: torch.device) -> dict:
    """What the numbers depend on: processor, its features, threads, and how busy it was before."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    flags = fields.get("flags", "").split()
    found = {
        "processor": fields.get("model name") or platform.processor() or platform.machine(),
        "features": [name for name in FEATURES if name in flags],
        "torch_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gomp_spincount": os.environ.get("GOMP_SPINCOUNT"),
        "load_before": round(os.getloadavg()[0], 2),
    }
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
        found["compute_capability"] = ".".join(map(str, torch.cuda.get_device_capability(device)))
        found["cuda"] = torch.version.cuda
        found["driver"] = _said_by(
            "nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"
        )
    return found


def origin(command: str, device: torch.device, *, commit: str | None = None) -> dict:
    """How to make the numbers again: the command, the source, the machine, the versions, the date.

    Args:
        command: the script's path in the repository, and its arguments.
        device: where the models are.
        commit: of the source, where it is a copy without git's folder.
    """
    # Records are written while the source stays as it is.
    status = _said_by("git", "status", "--porcelain", "--", ".", ":!vaelib/course/results")
    return {
        "command": f"python {command}",
        "commit": commit or _said_by("git", "rev-parse", "--short", "HEAD"),
        "tree_changed": None if status is None else bool(status),
        "device": str(device),
        "machine": machine(device),
        "versions": {"python": platform.python_version(), **files.versions()},
        "date": date.today().isoformat(),
    }


def _said_by(*command: str) -> str | None:
    """What a command prints; None if it is not here or fails."""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def take_up(path: Path | None, fresh: dict) -> dict:
    """The record that a file holds, to be continued, or a new one if there is no file.

    Raises:
        ValueError: if the file's numbers come from another source, machine or version: numbers of
            two machines are not put side by side as if they were of one.
    """
    if path is None or not path.exists():
        return dict(fresh)
    record = json.loads(path.read_text())
    for name in ("commit", "tree_changed", "device", "machine", "versions"):
        its, mine = (_lasting(r.get(name)) for r in (record, fresh))
        if its != mine:
            raise ValueError(
                f"{path}: holds runs with {name} {its}, and here it is {mine}; delete it, or "
                f"choose another --out"
            )
    record["date"] = fresh["date"]
    if fresh["command"] not in record["command"].split("; "):
        record["command"] += f"; {fresh['command']}"
    return record


def _lasting(value: object) -> object:
    """Without what differs from minute to minute."""
    if not isinstance(value, dict):
        return value
    return {name: of for name, of in value.items() if name != "load_before"}


def write(path: Path | None, record: dict) -> None:
    """Replace the file in one step, so that a break at any time leaves a whole one."""
    if path is None:
        return
    files.replace(path, (json.dumps(record, indent=1) + "\n").encode())
