"""What the page "Beyond one GPU" computes on paper, and its picture.

    python benchmarks/at_scale.py

Puts its sentences into book/at_scale.md, and draws book/at_scale/shards.svg. Nothing is timed.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch.utils.flop_counter import FlopCounterMode

from vaelib.course import plots
from vaelib.nets import MLPDecoder, MLPEncoder
from vaelib.vae import VAE

BOOK = Path(__file__).resolve().parent.parent / "book"
PAGE = BOOK / "at_scale.md"
IMAGES, BYTES = 10**9, 784
DISK = 3e9  # bytes a second, read one after another from one good disk
BLOCK = 4096  # bytes that a system reads at least
STATE, WEIGHTS = 4 * 4, 10**8  # bytes of a weight, its gradient and two moments
GPU = 1e14  # operations a second that a GPU may really do


def model() -> VAE:
    """The course's fully connected network."""
    return VAE(MLPEncoder(784, 16, hidden=(400,)), MLPDecoder(16, 784, hidden=(400,)))


def operations(images: int = 128) -> float:
    """Of matrix products in one step forward and back, for each image; two for a multiply-add."""
    net = model()
    x, noise = torch.rand(images, 784).round(), net.noise(images)
    with FlopCounterMode(display=False) as counter:
        net(x, noise).backward()
    return counter.get_total_flops() / images


def blocks() -> float:
    """Of a row that starts anywhere: the one that it starts in, and often the next."""
    return 1 + (BYTES - 1) / BLOCK


def sentences() -> dict[str, str]:
    """All that the page says in numbers."""
    each = operations()
    total = IMAGES * BYTES
    spread = IMAGES * blocks() * BLOCK
    return {
        "bytes": f"10⁹ images of {BYTES} bytes are {total / 1e12:.2f} TB.",
        "reading": f"At {DISK / 1e9:.0f} GB/s one pass over them takes {total / DISK:.0f} seconds.",
        "computing": f"Forward and back, a fully connected VAE with 400 hidden units does "
        f"{each / 1e6:.1f} million operations an image; at {GPU / 1e12:.0f} TFLOP/s that's "
        f"{IMAGES * each / GPU:.0f} seconds.",
        "small": f"An epoch of 60,000 such images is {60_000 * each / 1e9:.0f} GFLOP, "
        f"{60_000 * each / GPU * 1e3:.1f} milliseconds, and {60_000 * BYTES / 1e6:.0f} MB, which "
        f"stay on the GPU.",
        "random": f"Picked at random from the disk, a row costs {blocks():.1f} blocks of {BLOCK:,} "
        f"bytes, and a pass {spread / 1e12:.1f} TB: {spread / DISK:.0f} seconds.",
        "memory": f"It keeps weights, gradients and Adam's two moments on each GPU, at least "
        f"{STATE} bytes a weight in single precision: {STATE * WEIGHTS / 1e9:.1f} GB for a VAE "
        f"with {WEIGHTS:,} weights.",
    }


def picture() -> None:
    """Four shards, two processes, and a batch that has rows of each."""
    plots.theme()
    figure, ax = plt.subplots(figsize=(4.6, 3.5))
    colours = (plots.DATA, plots.Q)
    arrow = {"arrowstyle": "->", "color": "black", "lw": 1.2}

    def box(x: float, y: float, words: str, colour: str) -> None:
        around = {"boxstyle": "round,pad=0.4", "fc": "white", "ec": colour, "lw": 1.8}
        ax.text(x, y, words, ha="center", va="center", bbox=around, fontsize=11)

    for shard in range(4):
        x, process = (shard // 2) + 2 * (shard % 2), shard % 2
        box(x, 3, f"shard {shard}", colours[process])
        ax.annotate("", (2 * process + 0.5, 2.3), (x, 2.75), arrowprops=arrow)
    for process in range(2):
        x = 2 * process + 0.5
        box(x, 1.95, f"process {process}\nits half of the batch", colours[process])
        ax.annotate("", (1.5, 0.95), (x, 1.58), arrowprops=arrow)
    box(1.5, 0.6, "mean of the gradients\nthe same step in both", plots.BOUND)
    ax.set(xlim=(-0.5, 3.5), ylim=(0.2, 3.3))
    ax.set_axis_off()
    (BOOK / "at_scale").mkdir(exist_ok=True)
    where = BOOK / "at_scale" / "shards.svg"
    figure.savefig(where, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)


def write() -> None:
    """Put the sentences where their names stand, between @ and @."""
    text = PAGE.read_text()
    for name, sentence in sentences().items():
        text = text.replace(f"@{name}@", sentence)
    PAGE.write_text(text)


if __name__ == "__main__":
    picture()
    write()
