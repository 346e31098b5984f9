"""A trained model for other programs: its encoder and its decoder, as ONNX or as torch's own file.

Each file takes a batch of any size. What stands in it, and what a number of it means, it says
itself (`about`). The formulas around it are few: z is ``loc + exp(logvar / 2) * eps`` with standard
normal eps, and x is drawn from the likelihood whose parameters are ``raw``.
"""

import copy
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from vaelib import files
from vaelib.arguments import BadType, BadValue, Unable, shown
from vaelib.likelihood import Likelihood
from vaelib.nets import size
from vaelib.vae import Model

__all__ = ["about", "to_onnx", "to_torch"]

# An example's rows. Of one row torch.export would keep that it was one.
_ROWS = 3
# An ONNX file is a protocol buffer, which has 2 GiB at most; a MiB is left for the graph.
_MOST = 2**31 - 2**20


class _Encoder(nn.Module):
    """x, and its condition, to the parameters of q(z | x)."""

    def __init__(self, encoder: nn.Module, likelihood: Likelihood) -> None:
        super().__init__()
        self.network, self.likelihood = encoder, likelihood

    def forward(self, x: Tensor, c: Tensor | None = None) -> Any:
        x = self.likelihood.features(x)
        return self.network(x) if c is None else self.network(x, c)


class _Decoder(nn.Module):
    """z, and its condition, to the likelihood's parameters, and to the mean of x if it has one."""

    def __init__(self, decoder: nn.Module, likelihood: Likelihood) -> None:
        super().__init__()
        self.network, self.likelihood = decoder, likelihood

    def forward(self, z: Tensor, c: Tensor | None = None) -> Any:
        raw = self.network(z) if c is None else self.network(z, c)
        try:
            return raw, self.likelihood(raw).mean
        except NotImplementedError:  # as of torch's base class
            return raw


class _Part(NamedTuple):
    """What becomes a file."""

    name: str
    module: nn.Module
    example: tuple[Tensor, ...]
    inputs: list[str]
    outputs: list[str]


def to_onnx(model: Model, folder: str | Path) -> tuple[Path, Path]:
    """Write ``encoder.onnx`` and ``decoder.onnx``, which any ONNX runtime computes without torch.

    Args:
        model: trained, with one layer of latent variables; it stays as it is. What is written is
            its state in ``eval``, on the CPU.
        folder: of the files; what has their names there is replaced.

    Returns:
        The two paths. The encoder takes x ``[batch, pixels]``, as
        `vaelib.likelihood.Likelihood.prepare` makes it of data (pixels divided by 255; numbers and
        counts in their own units), and c ``[batch, condition]`` if the model has a condition. It
        returns loc and logvar of q(z | x), ``[batch, latent]``; an `~vaelib.vae.Autoencoder`'s the
        code z alone. The decoder takes z, and c, and returns ``raw``, the likelihood's parameters,
        and the ``mean`` of p(x | z) where it has one. `about` stands in the file's metadata.

    Raises:
        ~vaelib.arguments.Unable: if onnx and onnxscript are missing, or a network of yours can't be
            exported for any size of a batch.
        ~vaelib.arguments.BadType: if it is no model of one encoder and one decoder.
        ~vaelib.arguments.BadValue: if its networks are too large for a file of ONNX.

    >>> from vaelib.nets import MLPDecoder, MLPEncoder
    >>> from vaelib.vae import VAE
    >>> model = VAE(MLPEncoder(784, 2), MLPDecoder(2, 784))
    >>> encoder, decoder = to_onnx(model, "files")  # doctest: +SKIP
    >>> run = onnxruntime.InferenceSession(encoder).run  # doctest: +SKIP
    >>> loc, logvar = run(None, {"x": x})  # doctest: +SKIP
    >>> about(model)["z"]  # what is to be done with the two; it stands in the files' metadata
    '2 values; z = loc + exp(logvar / 2) * eps, eps standard normal'
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise Unable(
            f"to_onnx: needs {error.name}, which is not installed here; pip install "
            f'"vaelib[export]", or use to_torch, which needs torch alone'
        ) from error
    return _written(model, Path(folder), ".onnx", _onnx)


def to_torch(model: Model, folder: str | Path) -> tuple[Path, Path]:
    """Write ``encoder.pt2`` and ``decoder.pt2``, which torch loads without vaelib.

    ``torch.export.load(path).module()`` is a function of x, or z, and c, as those of `to_onnx`;
    ``torch.export.load(path, extra_files=texts)`` with ``texts = {"about.json": ""}`` puts `about`
    there. Arguments, result and errors are those of `to_onnx`.

    >>> import tempfile
    >>> from vaelib.nets import MLPDecoder, MLPEncoder
    >>> from vaelib.vae import VAE
    >>> model = VAE(MLPEncoder(784, 2), MLPDecoder(2, 784))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     encoder, decoder = to_torch(model, folder)
    ...     raw, mean = torch.export.load(decoder).module()(torch.zeros(5, 2))
    >>> mean.shape
    torch.Size([5, 784])
    """
    return _written(model, Path(folder), ".pt2", _torch)


def about(model: Model) -> dict[str, str]:
    """What a program must know of a model whose files it has, as words.

    >>> from vaelib.nets import MLPDecoder, MLPEncoder
    >>> from vaelib.vae import VAE
    >>> about(VAE(MLPEncoder(784, 2), MLPDecoder(2, 784)))["likelihood"]
    'Bernoulli()'
    """
    likelihood, (latent, condition) = model.likelihood, _sizes(model)
    return files.versions() | {
        "likelihood": repr(likelihood),
        "x": f"{model.pixels} values, as the likelihood takes them: {likelihood.remedy}",
        "z": f"{latent} values; z = loc + exp(logvar / 2) * eps, eps standard normal",
        "c": f"{condition} values for each row, one-hot of a label say; 0: there is no c",
        "raw": f"the likelihood's parameters, {likelihood.per_pixel} for a value, side by side",
        "mean": "of p(x | z), no sample of x",
    }


def _written(
    model: Model, folder: Path, suffix: str, content: Callable[[_Part, dict[str, str]], bytes]
) -> tuple[Path, Path]:
    words = about(_require_parts(model))
    encoder, decoder = ((part, content(part, words)) for part in _parts(model))
    paths = []
    for part, made in (encoder, decoder):  # once both are made: never a new one beside an old one
        paths.append(folder / f"{part.name}{suffix}")
        files.replace(paths[-1], made)
    return paths[0], paths[1]


def _require_parts(model: Model) -> Model:
    """Raise unless one encoder and one decoder are all there is."""
    if not isinstance(model, Model):
        raise BadType(f"export: expected a model of vaelib.vae, got {shown(model)}", "model")
    parts = [getattr(model, name, None) for name in ("encoder", "decoder")]
    layers = getattr(model, "layers", ())  # a model without a latent size has none
    if len(layers) > 1 or not all(isinstance(part, nn.Module) for part in parts):
        raise BadType(
            f"export: expected a model with one encoder, one decoder and one layer of latent "
            f"variables, a VAE or an IWAE, got {type(model).__name__}; its networks are modules, "
            f"which torch.export.export takes one by one",
            "model",
        )
    return model


def _networks(model: Model) -> tuple[nn.Module, nn.Module]:
    return cast(nn.Module, model.encoder), cast(nn.Module, model.decoder)


def _sizes(model: Model) -> tuple[int, int]:
    """How many numbers z has, and c, for the networks."""
    return cast(int, getattr(model.decoder, "latent", None) or model.latent), model.condition


def _parts(model: Model) -> Iterator[_Part]:
    model = copy.deepcopy(model).cpu().eval().requires_grad_(False)
    kind = next((t.dtype for t in model.parameters()), torch.float32)
    latent, condition = _sizes(model)
    c = (torch.zeros(_ROWS, condition, dtype=kind),) if condition else ()
    encoder, decoder = _networks(model)
    for name, module, letter, width in (
        ("encoder", _Encoder(encoder, model.likelihood), "x", model.pixels),
        ("decoder", _Decoder(decoder, model.likelihood), "z", latent),
    ):
        example = (torch.zeros(_ROWS, width, dtype=kind), *c)
        said = module(*example)
        if isinstance(said, Tensor):
            outputs = ["z" if name == "encoder" else "raw"]
        elif name == "decoder":
            outputs = ["raw", "mean"]
        else:  # more heads than two are of a posterior of one's own
            outputs = ["loc", "logvar", *(f"head{k}" for k in range(2, len(said)))]
        yield _Part(name, module, example, [letter, "c"][: len(example)], outputs)


def _program(part: _Part) -> ExportedProgram:
    """A network as torch.export writes it down, for a batch of any size."""
    batch = Dim("batch")
    try:
        return torch.export.export(
            part.module, part.example, dynamic_shapes=tuple({0: batch} for _ in part.example)
        )
    except RuntimeError as error:
        raise Unable(
            f"export: the {part.name}, {type(part.module.network).__name__}, cannot be written "
            f"down for a batch of any size; in its forward, take sizes from x.shape, without len() "
            f"and int(), and let no number of x decide by an if. torch says: {error}"
        ) from error


def _torch(part: _Part, words: dict[str, str]) -> bytes:
    file = io.BytesIO()
    torch.export.save(_program(part), file, extra_files={"about.json": json.dumps(words)})
    return file.getvalue()


def _onnx(part: _Part, words: dict[str, str]) -> bytes:
    tensors = [*part.module.parameters(), *part.module.buffers()]
    if sum(t.numel() * t.element_size() for t in tensors) >= _MOST:
        raise BadValue(
            f"to_onnx: expected {part.name}s that fit into a file of ONNX, {_MOST:,} bytes, got "
            f"one of {size(part.module):,} numbers; use to_torch"
        )
    program = _program(part)
    # The name of the axis is given once: torch warns of a second with the same sizes.
    names = ({0: "batch"}, *({} for _ in part.example[1:]))
    with _quiet():
        made = torch.onnx.export(
            program,
            dynamo=True,  # the default from torch 2.9 on
            input_names=part.inputs,
            output_names=part.outputs,
            dynamic_shapes=names,
            verbose=False,
        )
    assert made is not None
    made.model.metadata_props.update(words)
    return made.model_proto.SerializeToString()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch says of itself when it writes ONNX, and no caller can change.

    That torchvision, which nothing here needs, is not installed; and that a copy which torch makes
    of its own lists is made in a way that torch has given up.
    """
    log = logging.getLogger("torch.onnx._internal.exporter._registration")

    def told(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("torchvision is not installed")

    log.addFilter(told)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
            yield
    finally:
        log.removeFilter(told)
