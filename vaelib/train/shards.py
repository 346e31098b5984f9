"""Data in shards, of which each process reads its own: training beyond one machine's memory.

`vaelib.train.team` gives every process the whole batch, and each keeps some rows of it. That is
exact for any number of processes, and every one of them reads everything. Here a batch has as many
rows of each shard, and a process reads only the shards that are its own. For the result not to
depend on how many processes there are, what is drawn for a shard may not either: `stream`.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vaelib.arguments import BadType, BadValue, Unable, require_whole
from vaelib.train.batches import Batches, read
from vaelib.train.feed import Feed
from vaelib.train.rows import are_rows, fingerprint, require_rows
from vaelib.train.team import Team

SAMPLE = 10_000  # rows of the first shard that every process sees: 8 MB of digits


def stream(
    seed: int, epoch: int, shard: int, step: int, device: str | torch.device = "cpu"
) -> torch.Generator:
    """The random numbers of a shard: for its order in an epoch (step 0), and for each step.

    Its seed is a hash, because sums collide: with ``seed + epoch + shard`` the second shard of the
    first epoch would have the noise of the first shard of the second. (On a CPU torch looks at 32
    bits of a seed, so that among 10,000 streams two are alike with probability 1 %; no harm.)
    """
    key = hashlib.sha256(f"{seed}, {epoch}, {shard}, {step}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(key[:8], "little"))


class Shards:
    """Data in S parts of equal length, which processes share among them: `fit` takes it as rows.

    Of W processes (`join`, ``torchrun``) process p reads the shards p, p + W, …, and nothing else.
    Each batch has ``batch_size / S`` rows of every shard, each row once an epoch. A shard's order,
    its pixels and its noise follow from the seed, the epoch and the shard's place in the list, so
    the result does not depend on W but for the order of sums, and a run that was broken off goes
    on where it was, with any W; on one process and a CPU, bit for bit.

    What is asked of data once, before training, is asked of up to 10,000 random rows of the first
    shard: whether the likelihood is for them, its units, the rows that are measured after an epoch.
    So let each shard be a random part of the data, as they are if rows were dealt out in turn.

    Args:
        sources: S parts ``[n, values]``, each a tensor, an array, a memory map, a
            `vaelib.data.Rows`, or the path of a ``.npy`` file, which is mapped and not read as a
            whole; pictures in files are flattened. Only a process whose it is opens a file.
        seed: of all that is drawn while it trains, a whole number ≥ 0. The first weights are those
            of the first process's model.

    Raises:
        TypeError: if the sources are no list of such.
        ValueError: if there is none, or the seed is below 0. By `fit`, before anything is trained
            or written: if shards differ in length, width or type, a file is not there, S is not
            divisible by W, or ``batch_size`` by S.

    >>> from vaelib.nets import MLPDecoder, MLPEncoder
    >>> from vaelib.train import fit
    >>> from vaelib.vae import VAE
    >>> model = VAE(MLPEncoder(16, 2, hidden=(8,)), MLPDecoder(2, 16, hidden=(8,)))
    >>> black = torch.zeros(200, 16, dtype=torch.uint8)
    >>> shards = Shards([black[0::2], black[1::2]], seed=0)
    >>> history = fit(model, shards, epochs=2, batch_size=20, progress=False)
    >>> history[0].loss > history[1].loss
    True
    """

    def __init__(self, sources: Sequence[Any], *, seed: int) -> None:
        if not isinstance(sources, list | tuple) or not all(map(_is_source, sources)):
            got = type(sources).__name__
            if isinstance(sources, list | tuple):
                got = f"a list with {next(s for s in sources if not _is_source(s))!r:.50}"
            raise BadType(
                f"Shards: expected sources as a list of tensors, arrays or paths of .npy files, "
                f"got {got}; for files: sorted(Path('shards').glob('*.npy'))",
                "sources",
            )
        if not sources:
            raise BadValue("Shards: expected at least one source, got an empty list", "sources")
        require_whole("Shards", "seed", seed, least=0)
        self.sources, self.seed = sources, int(seed)


class Look(NamedTuple):
    """What all shards have to have in common."""

    rows: int
    values: int
    dtype: str

    @classmethod
    def at(cls, source: Any, shard: int) -> "Look":
        """Of a source; raises unless it has rows."""
        require_rows(source, f"shard {shard}")
        n, values = source.shape
        return cls(int(n), int(values), str(source.dtype).removeprefix("torch."))


class ShardBatches(Batches):
    """A pass over a process's shards; of each batch the row numbers ``[own shards, rows]``."""

    def __init__(self, opened: "Opened", batch_size: int, generator: torch.Generator) -> None:
        super().__init__(opened, batch_size, generator=generator)
        self.opened = opened

    def order(self) -> Sequence[Tensor]:
        """Of all batches of a pass: the same at each call, and with any number of processes."""
        opened = self.opened
        n, seed = opened.rows, opened.seed
        orders = torch.stack(
            [torch.randperm(n, generator=stream(seed, self.epoch, k, 0)) for k in opened.own]
        )
        return orders.split(self.batch_size // opened.count, dim=1)


@dataclass(frozen=True)
class ShardFeed(Feed):
    """A process's part of every batch, with what was drawn for it. Its ``rows`` are a sample."""

    opened: "Opened" = field(kw_only=True)

    def batches(self, size: int, generator: torch.Generator) -> ShardBatches:
        """A pass over the shards."""
        return ShardBatches(self.opened, size, generator)

    def feed(self, batches: Any) -> Iterator[list[Tensor]]:
        """What the loss takes: [x, noise], drawn for each shard by itself."""
        opened, device = self.opened, next(self.model.parameters()).device
        for numbers in batches.rows():
            x, noise = [], []
            for (shard, source), some in zip(opened.own.items(), numbers, strict=True):
                generator = stream(opened.seed, batches.epoch, shard, batches.position, device)
                rows = read(source, some).to(device)
                x.append(self.prepare(rows, generator=generator))
                noise.append(self.model.noise(len(rows), generator=generator))
            yield [torch.cat(x), torch.cat(noise, -2)]

    def draw(self, first: Tensor, *more: Tensor, generator: torch.Generator) -> list[Tensor]:  # noqa: ARG002
        """As it is: all is drawn."""
        return [first, *more]


@dataclass(frozen=True)
class Opened:
    """A process's own shards, by number, and what all processes know of the others."""

    seed: int
    count: int  # of all shards
    own: dict[int, Any]
    look: Look
    team: Team

    @property
    def rows(self) -> int:
        """Of each shard."""
        return self.look.rows

    def __len__(self) -> int:
        """Rows of all shards."""
        return self.count * self.rows

    def sample(self) -> Tensor:
        """Some rows of the first shard, the same ones in every process, which do not read them."""
        generator = torch.Generator().manual_seed(0)
        some: Any = None
        if self.team.rank == 0:
            some = read(self.own[0], torch.randperm(self.rows, generator=generator)[:SAMPLE])
        return self.team.agree(some)

    def fingerprint(self, folder: str | Path | None) -> str | None:
        """A hash of all shards in their order; each process reads its own for it."""
        if folder is None:
            return None
        found = self.team.gather({k: fingerprint(source, folder) for k, source in self.own.items()})
        known = {k: digest for some in found for k, digest in some.items()}
        text = " ".join(f"{known[k]}" for k in range(self.count))
        digest = hashlib.sha256(text.encode()).hexdigest()
        return f"{self.count} shards with seed {self.seed}, {digest}"


def opened(shards: Shards, team: Team, batch_size: int) -> Opened:
    """This process's shards, once all processes agree that together they can be trained on."""
    count = len(shards.sources)
    if count % team.size:
        raise BadValue(
            f"fit: expected a number of shards that {team.size} processes can divide, got "
            f"{count}: some would have more to do than others. Start as many processes as "
            f"divide {count}, or cut the data into {team.size * -(-count // team.size)} shards",
            "rows",
        )
    if batch_size % count:
        below = batch_size // count * count
        raise BadValue(
            f"fit: expected a batch_size that {count} shards can divide, so that each gives as "
            f"many rows, got {batch_size}; take {f'{below} or ' * (below > 0)}{below + count}",
            "batch_size",
        )
    own: dict[int, Any] = {}
    looks: dict[int, Look] = {}
    error: Exception | None = None
    try:
        for shard in range(team.rank, count, team.size):
            own[shard] = _mapped(shards.sources[shard])
            looks[shard] = Look.at(own[shard], shard)
    except Exception as failed:  # of any kind: the others would wait for this one for ever
        error = failed
    answers = team.gather((error, looks))
    for its, _ in answers:
        if its is not None:
            raise its
    _require_equal([look for _, some in answers for look in some.items()])
    return Opened(shards.seed, count, own, looks[team.rank], team)


def require_alone(labels: Any, condition: int | None, generator: Any) -> None:
    """Raise if `fit` is asked for what shards do not do."""
    if labels is not None or condition:
        raise BadValue(
            "fit: Shards have no labels; train a model with a condition on rows as one tensor or "
            "memory-mapped array with labels=, which several processes can share too",
            "labels",
        )
    if generator is not None:
        raise BadValue(
            "fit: what is drawn for Shards follows from their own seed, and a generator would "
            "change nothing; leave it out, and write Shards(…, seed=…)",
            "generator",
        )


def _is_source(source: Any) -> bool:
    return isinstance(source, str | Path) or are_rows(source)


def _mapped(source: Any) -> Any:
    """Rows; of a path those of a file, flat, none of which is read."""
    if not isinstance(source, str | Path):
        return source
    try:
        found = np.load(source, mmap_mode="r")
        if not isinstance(found, np.ndarray):
            raise ValueError(f"it holds {type(found).__name__}, not one array")
    except (OSError, ValueError) as error:
        raise Unable(
            f"fit: cannot read the shard {source}: {error}. A shard is one array in a .npy file, "
            f"as np.save writes it, and is there for the process whose it is",
            "rows",
        ) from None
    array = np.asarray(found)  # the mapped pages, without the slow indexing of a memmap
    return array.reshape(len(array), -1) if array.ndim > 2 else array


def _require_equal(looks: list[tuple[int, Look]]) -> None:
    """Raise unless all shards are alike in length, width and type."""
    (_, first), *rest = looks = sorted(looks)
    for shard, look in rest:
        if look[1:] != first[1:]:
            raise BadValue(
                f"fit: expected shards alike in width and type, got [{first.rows}, {first.values}] "
                f"of {first.dtype} in shard 0 and [{look.rows}, {look.values}] of {look.dtype} in "
                f"shard {shard}; write them anew from one array",
                "rows",
            )
        if look.rows != first.rows:
            least = min(look.rows for _, look in looks)
            raise BadValue(
                f"fit: expected shards of equal length, got {first.rows} rows in shard 0 and "
                f"{look.rows} in shard {shard}: a process that runs out of rows leaves the others "
                f"waiting. Cut each to {least} rows, or deal the rows out anew",
                "rows",
            )
