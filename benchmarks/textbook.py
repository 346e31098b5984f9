"""The loops that `vaelib.train.fit` is compared with. None uses vaelib.

`per_sample` and `tensor_dataset` are written as tutorials write them, after the VAE among
pytorch/examples: a DataLoader in the main process, the decoder's probabilities, a loss summed over
the batch, Adam as it comes, and the loss read at each step. Data are binarized afresh at each
visit. `resident` is the same loop over data that stay on the device; its options take it to what
`fit` does, one change at a time.

Each takes the encoder and decoder that it shall train in place, and calls ``after_epoch()`` at the
end of each epoch.
"""

import contextlib
import io
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, TensorDataset

__all__ = ["logits_loss", "loss", "per_sample", "pythae", "resident", "tensor_dataset"]


def loss(encoder: nn.Module, decoder: nn.Module, x: Tensor, eps: Tensor) -> Tensor:
    """The summed loss of a batch: binary cross-entropy and KL, as in pytorch/examples.

    Args:
        encoder: from ``[batch, pixels]`` to (mu, logvar), each ``[batch, latent]``.
        decoder: from ``[batch, latent]`` to logits ``[batch, pixels]``.
        x: pixels, 0 or 1.
        eps: standard normal noise, ``[batch, latent]``.

    Returns:
        A scalar in nats, summed over pixels, latent dimensions *and the batch*.
    """
    mu, logvar = encoder(x)
    z = mu + eps * torch.exp(0.5 * logvar)
    reconstruction = torch.sigmoid(decoder(z))
    return functional.binary_cross_entropy(reconstruction, x, reduction="sum") + _kl(mu, logvar)


def logits_loss(encoder: nn.Module, decoder: nn.Module, x: Tensor, eps: Tensor) -> Tensor:
    """The same number from the decoder's logits: fewer operations, and no log of 0."""
    mu, logvar = encoder(x)
    logits = decoder(mu + eps * torch.exp(0.5 * logvar))
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    return cross_entropy + _kl(mu, logvar)


def _kl(mu: Tensor, logvar: Tensor) -> Tensor:
    return -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())


def tensor_dataset(
    encoder: nn.Module,
    decoder: nn.Module,
    pixels: Tensor,
    *,
    epochs: int,
    batch_size: int,
    lr: float,
    after_epoch: Callable[[], None],
) -> None:
    """A DataLoader over a TensorDataset of grey images; each batch is binarized as a whole."""
    device = next(encoder.parameters()).device
    loader = DataLoader(TensorDataset(pixels.float() / 255), batch_size=batch_size, shuffle=True)

    def batches() -> Iterator[Tensor]:
        return (torch.bernoulli(grey.to(device)) for (grey,) in loader)

    _train(encoder, decoder, batches, epochs=epochs, lr=lr, after_epoch=after_epoch)


class PerSample(Dataset):
    """One image at a time: uint8 to [0, 1] as ``ToTensor`` does, then binarized."""

    def __init__(self, pixels: Tensor) -> None:
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[Tensor]:
        return (torch.bernoulli(self.pixels[index].float().div(255)),)


def per_sample(
    encoder: nn.Module,
    decoder: nn.Module,
    pixels: Tensor,
    *,
    epochs: int,
    batch_size: int,
    lr: float,
    after_epoch: Callable[[], None],
) -> None:
    """A DataLoader that transforms each image by itself, as tutorials with torchvision do.

    torchvision has no build for these pins, so this is its arithmetic without its trip through an
    image of PIL's: kinder than the real thing.
    """
    device = next(encoder.parameters()).device
    loader = DataLoader(PerSample(pixels), batch_size=batch_size, shuffle=True)

    def batches() -> Iterator[Tensor]:
        return (x.to(device) for (x,) in loader)

    _train(encoder, decoder, batches, epochs=epochs, lr=lr, after_epoch=after_epoch)


def resident(
    encoder: nn.Module,
    decoder: nn.Module,
    pixels: Tensor,
    *,
    epochs: int,
    batch_size: int,
    lr: float,
    after_epoch: Callable[[], None],
    loss: Callable[..., Tensor] = loss,
    read: bool = True,
    fused: bool | None = None,
) -> None:
    """Data that stay on the device as bytes: a batch is a slice of a permutation, binarized there.

    Args:
        encoder, decoder, pixels, epochs, batch_size, lr, after_epoch: as in the other loops.
        loss: `loss`, or `logits_loss`.
        read: read the loss at each step, for which the processor waits for the device; False adds
            the losses up on the device and reads the sum once an epoch.
        fused: Adam in one kernel; None is Adam as it comes.
    """
    weight = next(encoder.parameters())
    pixels = pixels.to(weight.device)

    def batches() -> Iterator[Tensor]:
        for rows in torch.randperm(len(pixels), device=weight.device).split(batch_size):
            values = pixels[rows]
            # An integer from 0 … 254 is below v with probability v / 255, exactly.
            yield (torch.empty_like(values).random_(0, 255) < values).to(weight.dtype)

    _train(
        encoder,
        decoder,
        batches,
        epochs=epochs,
        lr=lr,
        after_epoch=after_epoch,
        loss=loss,
        read=read,
        fused=fused,
    )


def _train(
    encoder: nn.Module,
    decoder: nn.Module,
    batches: Callable[[], Iterable[Tensor]],
    *,
    epochs: int,
    lr: float,
    after_epoch: Callable[[], None],
    loss: Callable[..., Tensor] = loss,
    read: bool = True,
    fused: bool | None = None,
) -> None:
    """The loop itself, over an epoch's batches of 0 and 1 on the device."""
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=lr, fused=fused)
    for _ in range(epochs):
        total: float | Tensor = 0.0
        for x in batches():
            optimizer.zero_grad()
            value = loss(encoder, decoder, x, x.new_empty(len(x), decoder.latent).normal_())
            value.backward()
            total += value.item() if read else value.detach()
            optimizer.step()
        float(total)  # what a tutorial prints
        after_epoch()


def pythae(
    encoder: nn.Module,
    decoder: nn.Module,
    pixels: Tensor,
    *,
    epochs: int,
    batch_size: int,
    lr: float,
    after_epoch: Callable[[], None],
) -> None:
    """pythae's ``BaseTrainer`` with the same networks (Chadebec et al., arXiv:2206.08309).

    Its datasets hold floats, so the data are binarized in the model, a batch at a time: the
    cheapest place there is. What it prints is thrown away; its last step, to save the model into
    a folder, comes after the last epoch and goes into a temporary one.

    Raises:
        ImportError: if pythae is not installed.
    """
    with contextlib.redirect_stderr(io.StringIO()), tempfile.TemporaryDirectory() as folder:
        logging.disable(logging.INFO)
        try:
            from pythae.data.datasets import BaseDataset
            from pythae.models import VAE, VAEConfig
            from pythae.models.base.base_utils import ModelOutput
            from pythae.models.nn import BaseDecoder, BaseEncoder
            from pythae.trainers import BaseTrainer, BaseTrainerConfig
            from pythae.trainers.training_callbacks import TrainingCallback

            class Encoder(BaseEncoder):
                def __init__(self) -> None:
                    super().__init__()
                    self.network = encoder

                def forward(self, x):
                    loc, logvar = self.network(x)
                    return ModelOutput(embedding=loc, log_covariance=logvar)

            class Decoder(BaseDecoder):
                def __init__(self) -> None:
                    super().__init__()
                    self.network = decoder

                def forward(self, z):
                    return ModelOutput(reconstruction=torch.sigmoid(self.network(z)))

            class Binarizing(VAE):
                def forward(self, inputs, **rest):
                    x = torch.bernoulli(inputs["data"])
                    return super().forward({**inputs, "data": x}, **rest)

            class AfterEpoch(TrainingCallback):
                def on_epoch_end(self, training_config, **rest):  # noqa: ARG002
                    after_epoch()

            config = VAEConfig(
                input_dim=(decoder.pixels,),
                latent_dim=decoder.latent,
                reconstruction_loss="bce",
            )
            trainer = BaseTrainer(
                Binarizing(config, Encoder(), Decoder()),
                BaseDataset(pixels.float() / 255, torch.zeros(len(pixels))),
                training_config=BaseTrainerConfig(
                    output_dir=folder,
                    num_epochs=epochs,
                    per_device_train_batch_size=batch_size,
                    learning_rate=lr,
                    seed=torch.initial_seed() % 2**32,  # it seeds anew; numpy's seeds have 32 bits
                    no_cuda=next(encoder.parameters()).device.type == "cpu",
                ),
                callbacks=[AfterEpoch()],
            )
            trainer.train()
        finally:
            logging.disable(logging.NOTSET)
