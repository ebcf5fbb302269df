"""The encoded training sample, in memory or memory-mapped, and the order in which its rows are seen."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from parhelion.errors import DataError
from parhelion.files import atomic_path
from parhelion.sample import Sample
from parhelion.surrogates.base import Batch, Surrogate
from parhelion.weights import require_positive_total

Source = Sample | Iterable[Sample] | Callable[[], Iterable[Sample]]

CHUNK = 65_536
_ORDER, _DRAWS, _VALIDATION = range(3)


def chunks(source: Source) -> Iterator[Sample]:
    """Samples of at most 65,536 rows that make up a source.

    Parameters
    ----------
    source
        A sample, a re-iterable of samples, or a function that opens such an iterable anew.

    Raises
    ------
    DataError
        The source can be read only once, and training needs it twice.
    """
    if isinstance(source, Sample):
        parts: Iterable[Sample] = (source,)
    elif isinstance(source, Iterator):
        msg = "the training sample is an iterator, which can be read only once; give a list or a function"
        raise DataError(msg)
    else:
        parts = source() if callable(source) else source
    for part in parts:
        if len(part) <= CHUNK:
            yield part
        else:
            yield from (part.take(slice(start, start + CHUNK)) for start in range(0, len(part), CHUNK))


class TrainingTable:
    """Encoded rows, shape (n, width + features + 1 [+ components]), float32: response, condition, weight [, active].

    Attributes
    ----------
    matrix
        The rows.
    width, features
        Widths of the encoded response and of the encoded condition.
    components
        Width of the response itself, that of `active`.
    scale
        Factor that brings the weights to mean 1 over the whole table; batches have it applied.
    """

    def __init__(self, matrix: Tensor, *, width: int, features: int, components: int, scale: float) -> None:
        self.matrix, self.width, self.features, self.components = matrix, width, features, components
        self.scale = scale
        self.masked = matrix.shape[1] > width + features + 1

    @classmethod
    def from_chunks(
        cls,
        samples: Iterable[Sample],
        surrogate: Surrogate,
        *,
        rows: int,
        file: Path | None = None,
        limit: int = 2_000_000_000,
    ) -> TrainingTable:
        """Encode samples one after the other.

        Parameters
        ----------
        samples
            Chunks of rows.
        surrogate
            Prepared; it encodes.
        rows
            Number of rows n in all samples.
        file
            Where rows go when they exceed `limit` bytes. The file is removed from its folder as soon as it is mapped,
            so nothing is left behind. None: the table stays in memory.
        limit
            Bytes.

        Raises
        ------
        DataError
            An encoded row is not finite, the sum of weights is not positive, or there are not n rows.
        WriteError
            The file cannot be written.
        """
        width, masked = surrogate.encoded_width, not surrogate.codec.pattern.trivial
        components, features = surrogate.schema.response_width, surrogate.codec.features
        columns = width + features + 1 + (components if masked else 0)
        total = 0.0
        if file is None or rows * columns * 4 <= limit:
            matrix, done = torch.empty(rows, columns), 0
            for part in _encode(samples, surrogate, rows, masked):
                matrix[done : done + len(part)] = part
                done += len(part)
                total += float(part[:, width + features].double().sum())
        else:
            with atomic_path(file) as temporary, temporary.open("wb") as out:
                for part in _encode(samples, surrogate, rows, masked):
                    out.write(part.numpy().tobytes())
                    total += float(part[:, width + features].double().sum())
            # Copy-on-write: torch refuses read-only memory, and nothing writes to the table.
            matrix = torch.from_numpy(np.memmap(file, dtype=np.float32, mode="c", shape=(rows, columns)))
            file.unlink()
        require_positive_total([total], source="encoded sample")
        return cls(matrix, width=width, features=features, components=components, scale=rows / total)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.matrix)

    def near(self, device: torch.device) -> TrainingTable:
        """Table on a GPU where it takes less than half of the free memory, else as it is."""
        if device.type != "cuda" or self.bytes > torch.cuda.mem_get_info(device)[0] // 2:
            return self
        near = copy(self)
        near.matrix = self.matrix.to(device)
        return near

    @property
    def bytes(self) -> int:
        """Size of the table."""
        return self.matrix.numel() * 4

    def batch(self, rows: Tensor | slice, device: torch.device | str) -> Batch:
        """Chosen rows on a device."""
        if isinstance(rows, slice):
            matrix = self.matrix[rows].to(device)
        else:
            matrix = self.matrix.index_select(0, rows.to(self.matrix.device)).to(device)
        d, end = self.width, self.width + self.features
        free = torch.ones(len(matrix), self.components, dtype=torch.bool, device=device)
        active = matrix[:, end + 1 :] > 0 if self.masked else free
        return Batch(matrix[:, :d], matrix[:, d:end], active, matrix[:, end] * self.scale)

    def fingerprint(self) -> int:
        """Check sum of rows spread over the table: it tells whether a checkpoint belongs to it."""
        step = max(1, len(self) // 4096)
        return zlib.crc32(self.matrix[::step].cpu().numpy().tobytes(), len(self) & 0xFFFFFFFF)


def _encode(samples: Iterable[Sample], surrogate: Surrogate, rows: int, masked: bool) -> Iterator[Tensor]:
    done = 0
    for sample in samples:
        if done + len(sample) <= rows:
            batch = surrogate.encode(sample)
            parts = [batch.response, batch.condition, batch.weight[:, None]]
            matrix = torch.cat([*parts, batch.active.to(torch.float32)] if masked else parts, dim=1)
            finite = torch.isfinite(matrix).all(dim=1)
            if not finite.all():
                row = done + int(torch.argmin(finite.to(torch.int8)))
                msg = f"{sample.source}, row {row}: encoded values are not finite; check this row and the transforms"
                raise DataError(msg)
            yield matrix.to(torch.float32)
        done += len(sample)
    if done != rows:
        msg = f"the training sample had {rows} rows when it was first read and {done} rows the second time"
        raise DataError(msg)


def stream_seed(seed: int, *key: int) -> int:
    """Seed, 63 bits, of an independent stream of random numbers named by integers (numpy's SeedSequence)."""
    return int(np.random.SeedSequence([seed, *key]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def draws_seed(seed: int, step: int, turn: int) -> int:
    """Seed of the draws in one turn of one step."""
    return stream_seed(seed, _DRAWS, step, turn)


def validation_seed(seed: int) -> int:
    """Seed of the draws in every validation."""
    return stream_seed(seed, _VALIDATION)


class RowOrder:
    """Rows of batch 0, 1, ...: consecutive pieces of an endless stream of permutations, one an epoch.

    It has no state: epoch e's permutation follows from (seed, e). Every row comes once an epoch. Four bytes a row.
    """

    def __init__(self, rows: int, batch: int, seed: int) -> None:
        self.rows, self.size, self.seed = rows, batch, seed
        self._epochs: dict[int, Tensor] = {}

    def batch(self, number: int) -> Tensor:
        """Rows of a batch, shape (batch,), int32 (int64 above 2^31 rows)."""
        start, stop = number * self.size, (number + 1) * self.size
        first, last = start // self.rows, (stop - 1) // self.rows
        parts = [self._epoch(e)[max(start - e * self.rows, 0) : stop - e * self.rows] for e in range(first, last + 1)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _epoch(self, epoch: int) -> Tensor:
        if epoch not in self._epochs:
            self._epochs = {e: order for e, order in self._epochs.items() if e == epoch - 1}
            generator = torch.Generator().manual_seed(stream_seed(self.seed, _ORDER, epoch))
            dtype = torch.int32 if self.rows < 2**31 else torch.int64
            self._epochs[epoch] = torch.randperm(self.rows, generator=generator, dtype=dtype)
        return self._epochs[epoch]
