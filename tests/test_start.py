"""Chapter `start`: its open lines are a script, its loss is the ELBO, and it draws its opening."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from oracles import bernoulli_log_likelihood, kl_to_standard_normal

from vaelib import course
from vaelib.vae import VAE

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
CELLS = nbformat.read(BOOK / "start.ipynb", as_version=4).cells


@pytest.fixture(scope="module")
def recording():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        import first_vae

        yield first_vae


@pytest.fixture(scope="module")
def ours(recording):
    """What the script defines."""
    return recording.names()


@pytest.fixture(scope="module")
def one_epoch(ours):
    return ours["train"](8, epochs=1)


@pytest.fixture(scope="module")
def record():
    return course.recorded("first_vae")


def test_it_is_sixty_lines_of_torch_and_the_digits(recording):
    lines = recording.script().splitlines()
    assert 55 <= len(lines) <= 65  # with the empty ones
    assert [line for line in lines if re.match(r"(import|from) ", line)] == [
        "import torch",
        "from torch import nn",
        "from torch.nn.functional import binary_cross_entropy_with_logits as bce",
        "from vaelib import data",
    ]


def test_a_reader_can_run_it_as_a_file_of_its_own(recording, tmp_path):
    """In another folder, with the line that the page runs, without an epoch."""
    run = "encoder, decoder, album = train(8, epochs=0)\nprint(len(album), *album[0].shape)\n"
    (tmp_path / "first_vae.py").write_text(recording.script() + run)
    done = subprocess.run(
        [sys.executable, "first_vae.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert not done.stderr, done.stderr
    assert done.stdout == "1 12 784\n"


def test_an_image_has_the_shapes_of_the_diagram(ours):
    x = ours["draw"](ours["digits"].train[:64])
    assert x.shape == (64, 784)
    assert x.unique().tolist() == [0.0, 1.0]
    loc, logvar = ours["Encoder"](8)(x)
    assert loc.shape == logvar.shape == (64, 8)
    assert ours["Decoder"](8)(loc).shape == (64, 784)
    assert ours["elbo"](ours["Encoder"](8), ours["Decoder"](8), x).shape == (64,)


def test_a_pixel_is_black_as_often_as_it_is_grey(ours):
    """100,000 draws of each of four pixels: five standard errors."""
    torch.manual_seed(0)
    grey = torch.tensor([0, 51, 204, 255], dtype=torch.uint8)
    drawn = ours["draw"](grey.expand(100_000, 4)).mean(0)
    chance = grey / 255
    assert ((drawn - chance).abs() <= 5 * (chance * (1 - chance) / 100_000).sqrt()).all()


@pytest.mark.parametrize("latent", [2, 8])
def test_the_loss_is_the_elbo_of_vaelib_and_of_quadrature(ours, latent):
    """For the same noise; with networks whose bells are far from the prior's."""
    torch.manual_seed(1)
    encoder, decoder = ours["Encoder"](latent), ours["Decoder"](latent)
    with torch.no_grad():
        encoder.net[2].weight.mul_(6)
        decoder.net[2].weight.mul_(3)
    x = ours["draw"](ours["digits"].test[:5])
    torch.manual_seed(2)
    loss = ours["elbo"](encoder, decoder, x)
    torch.manual_seed(2)
    eps = torch.randn(5, latent)

    for network in (encoder, decoder):
        network.latent, network.pixels = latent, 784
    torch.testing.assert_close(loss, VAE(encoder, decoder).elbo(x, eps), atol=1e-4, rtol=1e-6)

    with torch.no_grad():
        loc, logvar = (part.double().numpy() for part in encoder(x))
        logits = decoder(torch.from_numpy(loc + np.exp(logvar / 2) * eps.numpy()).float())
    kl = kl_to_standard_normal(loc, logvar)
    assert kl.min() > 0.3
    expected = bernoulli_log_likelihood(x.numpy(), logits.double().numpy()) - kl
    np.testing.assert_allclose(loss.detach().numpy(), expected, atol=2e-3)


def test_one_step_reaches_every_weight_of_both_networks(ours):
    torch.manual_seed(3)
    encoder, decoder = ours["Encoder"](8), ours["Decoder"](8)
    ours["elbo"](encoder, decoder, ours["draw"](ours["digits"].train[:64])).mean().backward()
    for weight in (*encoder.parameters(), *decoder.parameters()):
        assert weight.grad.abs().max() > 0


def test_the_first_epoch_draws_the_opening_again(one_epoch, record):
    """On whatever machine this is: another BLAS moves a pixel's chance by a few hundredths."""
    album, states = one_epoch[2], record["points"][:3]
    assert [state["epochs"] for state in states] == [0, 1, 10]
    assert len(album) == 2
    torch.testing.assert_close(album[0], states[0]["means"], atol=0.003, rtol=0)
    assert (album[1] - states[1]["means"]).abs().mean() < 0.01
    assert (album[1] - states[0]["means"]).abs().mean() > 0.2  # it has learned


def test_the_recorded_digit_fits_its_own_bell(ours, recording, record):
    """What is drawn of it on the page: x, q, three draws and three bills."""
    digit = record["points"][3]
    torch.manual_seed(1)
    x = ours["draw"](ours["digits"].test)[recording.DIGIT]
    assert digit["x"] == "".join(str(int(pixel)) for pixel in x)
    assert digit["label"] == ours["digits"].test_labels[recording.DIGIT]
    loc, scale = np.array([digit["loc"]]), np.array([digit["scale"]])
    kl = kl_to_standard_normal(loc, 2 * np.log(scale))
    assert digit["kl"] == pytest.approx(kl[0], abs=0.02)
    assert (np.abs(np.array(digit["z"]) - loc) < 4 * scale).all()
    # Chances of ink are stored in steps of 1/255, which moves a pixel of 0.01 by a fifth.
    chances = digit["means"].clamp(1 / 510, 1 - 1 / 510)
    log_lik = torch.distributions.Bernoulli(chances).log_prob(x).sum(1)
    torch.testing.assert_close(log_lik, torch.tensor(digit["log_lik"]), atol=3, rtol=0)


def test_the_record_says_where_it_comes_from(record):
    assert record["command"] == "python benchmarks/first_vae.py"
    assert record.keys() >= {"commit", "device", "machine", "versions", "date"}


@pytest.mark.soak  # a quarter of a minute of training
def test_ten_epochs_come_out_again(recording, record):
    again, stored = recording.record_of()[-1], record["points"][-1]
    assert again["elbo"] == pytest.approx(stored["elbo"], abs=1.5)
    assert -127 < again["elbo"] < -119


ANSWERS = (  # the part of the code, and the section that says why it stands there
    ("loc, logvar", "amortized-parameters"),
    ("z", "latent-intractable"),
    ("0.5 *", "reparam-half"),
    ("randn_like", "reparam-naive"),
    (".sum(1)", "collapse-causes"),
    ("kl", "kl-half"),
    ("log_lik - kl", "elbo-derivations"),
    ("randn(12, latent)", "vae-autoencoder"),
)


def test_eight_questions_lead_to_where_they_are_answered():
    (text,) = [cell.source for cell in CELLS if cell.source.startswith("1. **`")]
    items = re.findall(r"(?m)^\d\. \*\*`(.+?)`\*\*:.*\]\(([\w-]+)\)", text)
    assert tuple(items) == ANSWERS
    for _, anchor in ANSWERS:
        chapter = nbformat.read(BOOK / f"{anchor.split('-')[0]}.ipynb", as_version=4)
        assert sum(cell.source.count(f"({anchor})=") for cell in chapter.cells) == 1


def test_the_picture_of_the_loss_numbers_what_the_questions_ask():
    (drawn,) = [cell.source for cell in CELLS if "asked = {" in cell.source]
    (asked,) = [
        ast.literal_eval(node.value)
        for node in ast.parse(drawn).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "asked"
    ]
    assert [*asked] == [part for part, _ in ANSWERS]
