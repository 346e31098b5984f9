"""What the opening of chapter `start` shows before anything is trained there (15 s).

    python benchmarks/first_vae.py

It runs the chapter's own script: the lines that stand open in its notebook. Stored is what the
decoder makes of twelve fixed points before training, after one epoch and after ten, and one
held-out digit on its way through the loss, in vaelib/course/results/first_vae.json; with --print
it is only printed. tests/test_start.py runs the first epoch again.
"""

import argparse
import base64
import re
import runpy
import tempfile
from pathlib import Path

import nbformat
import provenance
import torch
from torch import Tensor

NOTEBOOK = provenance.ROOT / "book" / "start.ipynb"
LATENT = 8  # as the chapter trains it
SHOWN = (0, 1, 10)  # epochs
DIGIT = 13  # of the held-out ones: a 5
DRAWS = 3  # of z


def script() -> str:
    """The chapter's script: its cells of code in the open, up to the one that can train."""
    lines = []
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type == "code" and not any(tag.startswith("hide-") for tag in tags):
            lines.append(cell.source)
            if re.search(r"(?m)^def train\(", cell.source):
                return "\n\n\n".join(lines) + "\n"
    raise ValueError(f"{NOTEBOOK}: no open cell defines train")


def names() -> dict:
    """What the script defines, run as a file of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "first_vae.py"
        path.write_text(script())
        return runpy.run_path(str(path))


def packed(means: Tensor) -> str:
    """Pictures [n, 784] in [0, 1] as bytes, in letters."""
    return base64.b64encode((255 * means).round().byte().numpy().tobytes()).decode()


def record_of(epochs: int = SHOWN[-1]) -> list[dict]:
    """The twelve points after each epoch that is shown, and one digit at the end of them."""
    ours = names()
    encoder, decoder, album = ours["train"](LATENT, epochs)
    points = [
        {"epochs": epoch, "means": packed(album[epoch])} for epoch in SHOWN if epoch <= epochs
    ]
    torch.manual_seed(1)
    x = ours["draw"](ours["digits"].test)
    with torch.no_grad():
        held_out = ours["elbo"](encoder, decoder, x).mean().item()
        (loc,), (logvar,) = encoder(x[[DIGIT]])
        z = loc + torch.exp(0.5 * logvar) * torch.randn(DRAWS, LATENT)
        pixel = torch.distributions.Bernoulli(logits=decoder(z))
        kl = torch.distributions.kl_divergence(
            torch.distributions.Normal(loc, torch.exp(0.5 * logvar)),
            torch.distributions.Normal(0.0, 1.0),
        )
    digit = {
        "epochs": epochs,
        "elbo": round(held_out, 2),
        "label": int(ours["digits"].test_labels[DIGIT]),
        "x": "".join(str(int(value)) for value in x[DIGIT]),
        "loc": [round(v, 4) for v in loc.tolist()],
        "scale": [round(v, 4) for v in torch.exp(0.5 * logvar).tolist()],
        "z": [[round(v, 4) for v in row] for row in z.tolist()],
        "log_lik": [round(v, 2) for v in pixel.log_prob(x[DIGIT]).sum(1).tolist()],
        "kl": round(kl.sum().item(), 2),
        "means": packed(pixel.probs),
    }
    return [*points, digit]


def main() -> None:
    """Run the script, and store what was seen with where it comes from."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--print", action="store_true", help="do not store")
    options = parser.parse_args()
    points = record_of()
    print({name: value for name, value in points[-1].items() if name not in ("x", "means")})
    origin = provenance.origin("benchmarks/first_vae.py", torch.device("cpu"))
    if not options.print:
        provenance.write(provenance.RESULTS / "first_vae.json", {**origin, "points": points})


if __name__ == "__main__":
    main()
