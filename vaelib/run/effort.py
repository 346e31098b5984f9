"""How much is computed where nobody says: how many data, how many samples, how many at once."""

from torch import nn

from vaelib.likelihood import Likelihood
from vaelib.vae import Model

__all__ = ["affordable", "checked", "chunks", "exact"]

MOST, FEWEST = 500, 50  # data, and samples of each, for which log p(x) is estimated
# Decoded by grid_log_evidence, by latent dimensions: its cells, and half as many twice.
CELLS = {1: 8_000, 2: 80_000}
# Seconds for what one number of a decoder says of one datum, on one core: in a product of matrices,
# and by a density of its own, measured from 2e-8 (missing pixels) to 5e-7 (counts).
IN_A_PRODUCT, BY_ITSELF = 5e-10, 3e-7


def affordable(model: Model) -> int:
    """Of how many data, and by how many samples of each, log p(x) is estimated in a minute or so.

    500 of 500; on a CPU fewer, in the same proportion, where a decoder returns more than 784
    numbers for a datum, of which time and memory take their measure.

    >>> from vaelib.likelihood import Logistics
    >>> from vaelib.nets import MLPDecoder, MLPEncoder
    >>> from vaelib.vae import VAE
    >>> affordable(VAE(MLPEncoder(784, 2), MLPDecoder(2, 784)))
    500
    >>> colour = Logistics(channels=3)  # 17 numbers for each of 3,072 values
    >>> decoder = MLPDecoder(2, 3072, levels=17, hidden=(8,))
    >>> affordable(VAE(MLPEncoder(3072, 2, hidden=(8,)), decoder, likelihood=colour))
    61
    """
    if next(model.parameters()).device.type != "cpu":
        return MOST
    width = model.likelihood.width(model.pixels)
    return max(FEWEST, min(MOST, round(MOST * (784 / width) ** 0.5)))


def exact(model: Model, data: int) -> bool:
    """Whether log p(x) of so many data is summed on a grid too: if in two minutes.

    Where a likelihood says by products of matrices what every z says of every x
    (`~vaelib.likelihood.Likelihood.log_prob_pairs`), it takes seconds; with a density of its own
    for each number it may take hours.

    >>> from vaelib.likelihood import Logistics
    >>> from vaelib.nets import MLPDecoder, MLPEncoder
    >>> from vaelib.vae import VAE
    >>> exact(VAE(MLPEncoder(784, 2), MLPDecoder(2, 784)), 500)
    True
    >>> colour = Logistics(channels=3)  # 10 minutes for each datum
    >>> decoder = MLPDecoder(2, 3072, levels=17, hidden=(8,))
    >>> exact(VAE(MLPEncoder(3072, 2, hidden=(8,)), decoder, likelihood=colour), 61)
    False
    """
    likelihood = model.likelihood
    products = type(likelihood).log_prob_pairs is not Likelihood.log_prob_pairs
    numbers = CELLS.get(model.latent, 0) * data * likelihood.width(model.pixels)
    seconds = numbers * (IN_A_PRODUCT if products else BY_ITSELF)
    cpu = next(model.parameters()).device.type == "cpu"
    return seconds < (120 if cpu else 100 * 120)


def checked(model: Model) -> int:
    """On how many data another proposal is tried, for each of which 5,000 gradients are taken."""
    return max(4, round(100 * (affordable(model) / MOST) ** 2))


def chunks(model: Model) -> tuple[int, int]:
    """Samples of a datum and data at a time: few fit a processor's cache, many fill a GPU."""
    cpu = next(model.parameters()).device.type == "cpu"
    most, data_ = (2_000_000, 100) if cpu else (50_000_000, 1000)
    widths = [layer.out_features for layer in model.modules() if isinstance(layer, nn.Linear)]
    widest = max([*widths, model.likelihood.width(model.pixels)])
    # With fewer rows, reading the weights of the widest layer takes the time.
    rows = max(40, most // widest)
    batch_size = min(data_, rows // 10)
    return rows // batch_size, batch_size
