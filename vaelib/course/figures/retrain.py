"""Rate and distortion at several β, and a VAE trained again: chapter :doc:`/book/collapse`."""

import base64
import math
import threading
from typing import Any, ClassVar

import torch
import traitlets

from vaelib import data, evaluate, nets, train
from vaelib.course import plots
from vaelib.course.recordings import recorded
from vaelib.vae import VAE

from .figure import Figure, Still, script

__all__ = ["Retrain"]

Run = dict[str, Any]  # beta, latent, seed, elbo, kl, distortion, source; recorded: units, pictures
SIZE = 16  # of the recorded runs at several β


class _StoppedError(Exception):
    """Raised in the training loop, at the step before which somebody said stop."""


class Retrain(Figure):
    r"""Rate and distortion of trained VAEs: recorded runs, and those that the reader trains.

    $$-\mathrm{ELBO} = \underbrace{E_q[-\log p(x \mid z)]}_{\text{distortion}}
      + \underbrace{\mathrm{KL}(q(z \mid x) \,\|\, p(z))}_{\text{rate}},
      \qquad \text{loss} = \text{distortion} + \beta \cdot \text{rate}$$

    In nats per image, on the 2,000 held-out digits. Where a kernel runs, the page has a button that
    trains in a thread of it; networks are smaller and epochs fewer than in the recorded runs.

    Args:
        beta, latent, seed: weight of the rate in the loss, number of latent dimensions, and source
            of weights, order, binarization and noise.
        epochs, images: passes over the data, and digits to train on.
    """

    _esm = script("retrain")
    description: ClassVar[str] = (
        "Distortion against rate of trained VAEs: recorded runs at five β lie on a bent, falling "
        "curve, whose tangent at each run has the slope minus β. At β = 1 it is the dashed line "
        "along which rate plus distortion stays the least that was found."
    )

    beta = traitlets.Float(1.0, min=1e-3).tag(sync=True)
    latent = traitlets.Int(16, min=1).tag(sync=True)
    seed = traitlets.Int(0, min=0).tag(sync=True)
    epochs = traitlets.Int(12, min=1).tag(sync=True)
    images = traitlets.Int(8000, min=1).tag(sync=True)
    runs: Any = traitlets.List().tag(sync=True)  # the source is "recorded" or "trained here"
    curve: Any = traitlets.List().tag(sync=True)  # elbo, kl and distortion after each epoch
    training = traitlets.Bool(False).tag(sync=True)
    progress = traitlets.Float(0.0).tag(sync=True)
    note = traitlets.Unicode("").tag(sync=True)  # how the latest run ended

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._stop, self._thread = threading.Event(), threading.Thread()
        self.on_msg(self._receive)

    @traitlets.default("runs")
    def _recorded(self) -> list[Run]:
        names = ("beta", "latent", "seed", "elbo", "distortion")
        runs = []
        for point in recorded("sweep")["points"]:
            run = {name: point[name] for name in names}
            run |= {"kl": point["rate"], "source": "recorded", "units": point["active_units"]}
            if "means" in point and point["latent"] == SIZE:  # of the runs that have a slider
                grey = (255 * point["means"]).round().byte().numpy().tobytes()
                run["pictures"] = base64.b64encode(grey).decode()
            runs.append(run)
        return runs

    def nearest(self) -> Run:
        """The recorded run nearest in log β and log latent size, and then in seed."""

        def distance(run: Run) -> float:
            logs = (math.log(run[name] / getattr(self, name)) for name in ("beta", "latent"))
            return math.hypot(*logs) + 1e-6 * abs(run["seed"] - self.seed)

        return min((run for run in self.runs if run["source"] == "recorded"), key=distance)

    def train(self, beta: float, latent: int, seed: int) -> Run | None:
        """Train, wait for it, and put the run at the end of ``runs``; None if it was stopped.

        Raises:
            RuntimeError: if another run is going on.
        """
        if self.training:
            raise RuntimeError("Retrain: a run is going on already; wait for it, or stop it first")
        self.beta, self.latent, self.seed = beta, latent, seed
        self.training, self.progress, self.curve, self.note = True, 0.0, [], ""
        try:
            self._fit(beta, latent, seed)
            run = {"beta": beta, "latent": latent, "seed": seed, **self.curve[-1]}
            self.runs = [*self.runs, run | {"source": "trained here"}]
            return self.runs[-1]
        except _StoppedError:
            self.note = f"Stopped after {len(self.curve)} of {self.epochs} epochs."
            return None
        finally:
            self._stop.clear()
            self.training = False

    def _fit(self, beta: float, latent: int, seed: int) -> None:
        digits, epochs, step = data.digits(), self.epochs, 0
        pixels = digits.train[: self.images]
        per_epoch = math.ceil(len(pixels) / 64)
        # The recorded runs' held-out data.
        x = data.binarize(digits.test, generator=torch.Generator().manual_seed(1000))
        with torch.random.fork_rng(devices=[]):  # weights come from torch's own generator
            torch.manual_seed(seed)
            encoder = nets.MLPEncoder(784, latent, hidden=(128, 128), spread=10.0)
            model = VAE(encoder, nets.MLPDecoder(latent, 784, hidden=(128, 128)), beta=beta)

        def measure() -> None:
            found = evaluate.elbo(model, x, generator=torch.Generator().manual_seed(seed))
            epoch = {"elbo": found.elbo, "kl": found.kl, "distortion": -found.log_likelihood}
            self.curve = [*self.curve, epoch]

        def before_step(*_: Any) -> None:
            nonlocal step
            if self._stop.is_set():
                raise _StoppedError
            if step > 0 and step % per_epoch == 0:
                measure()
            self.progress = round(step / (epochs * per_epoch), 2)  # few messages to the page
            step += 1

        # The loop knows a module and its loss, and nothing of this figure.
        model.register_forward_pre_hook(before_step)
        how: dict[str, Any] = {"epochs": epochs, "batch_size": 64, "lr": 3e-3, "progress": False}
        train.fit(model, pixels, generator=torch.Generator().manual_seed(seed), **how)
        measure()
        self.progress = 1.0

    def _receive(self, _: Any, message: dict[str, Any], __: Any) -> None:
        """From the page: is anybody there; train; stop."""
        kind = message.get("type")
        if kind == "hello":
            self.send({"type": "kernel"})  # on a page without a kernel this answer never comes
        elif kind == "stop" and self.training:
            self._stop.set()
        elif kind == "train" and not self._thread.is_alive():
            self._thread = threading.Thread(target=self._train_and_tell, daemon=True)
            self._thread.start()

    def _train_and_tell(self) -> None:
        try:
            self.train(self.beta, self.latent, self.seed)
        except Exception as error:  # there is no cell under which it could be shown
            self.note = str(error)

    def still(self) -> Still:  # noqa: D102
        picture = Still(figsize=(6, 3.4), layout="constrained")
        plane = picture.subplots()
        swept = [r for r in self.runs if r["source"] == "recorded" and r["latent"] == SIZE]
        swept = sorted((r for r in swept if r["seed"] == 0), key=lambda r: r["beta"])
        plane.plot(
            [r["kl"] for r in swept], [r["distortion"] for r in swept], "o-", color=plots.PRIOR
        )
        for run in swept:
            plane.annotate(
                f"β = {run['beta']:g}",
                (run["kl"], run["distortion"]),
                xytext=(7, 5),
                textcoords="offset points",
            )
        own = [(r["kl"], r["distortion"]) for r in self.runs if r["source"] != "recorded"]
        if own:
            plane.plot(*zip(*own, strict=True), "D", color=plots.SCORE, label="trained here")
        near, rates = self.nearest(), (0.0, 55.0)
        for run, slope, color, style in (
            (near, near["beta"], "black", "-"),
            (max(swept, key=lambda r: r["elbo"]), 1.0, plots.BOUND, "--"),
        ):
            total = run["distortion"] + slope * run["kl"]
            name = f"D + {slope:g} R = {total:.1f}"
            plane.plot(rates, [total - slope * r for r in rates], style, color=color, label=name)
        plane.plot(near["kl"], near["distortion"], "o", ms=13, mfc="none", mec="black")
        plane.set(xlabel="rate R (nats)", ylabel="distortion D (nats)", xlim=rates, ylim=(50, 180))
        plane.legend()
        return picture
