"""Masses of one window, collected in chunks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from parhelion.errors import DataError

FloatArray = npt.NDArray[np.float64]

UNBINNED_LIMIT = 100_000
"""Rows up to which the fit takes each mass; beyond, it takes a histogram of `FINE_BINS` bins."""
FINE_BINS = 20_000
"""Bins of that histogram: some thousand bins within the peak, so binning is far below the statistical error."""


class MassSpectrum:
    """Masses of one window, collected in chunks with bounded memory.

    Up to `limit` rows each mass is kept; beyond, only a histogram of `FINE_BINS` bins.

    Parameters
    ----------
    window
        Lower and upper end, unit of mass.
    limit
        Rows up to which masses are kept.
    source
        Where the masses come from, for messages.
    """

    def __init__(self, window: tuple[float, float], *, limit: int = UNBINNED_LIMIT, source: str = "mass") -> None:
        self.window = window
        self.limit = limit
        self.source = source
        self.counts: FloatArray = np.zeros(FINE_BINS)
        self.seen = 0
        self._kept: list[FloatArray] | None = []

    def add(self, mass: npt.ArrayLike) -> None:
        """Take in masses, shape (n,); those outside the window are only counted.

        Raises
        ------
        DataError
            A mass is NaN or infinite, or the array is not one-dimensional; the message names the row.
        """
        x = np.asarray(mass, dtype=np.float64)
        if x.ndim != 1:
            msg = f"{self.source}: expected one mass a row, shape (n,), got {x.shape}"
            raise DataError(msg)
        bad = ~np.isfinite(x)
        if bad.any():
            row = self.seen + int(np.argmax(bad))
            msg = (
                f"{self.source}, row {row}: the mass is NaN or infinite; remove such rows with a selection "
                f"({int(bad.sum())} of {len(x)} rows)"
            )
            raise DataError(msg)
        self.seen += len(x)
        x = x[inside(x, self.window)]
        self.counts += np.histogram(x, bins=FINE_BINS, range=self.window)[0]
        if self._kept is not None:
            self._kept.append(x)
            if self.rows > self.limit:
                self._kept = None

    @property
    def rows(self) -> int:
        """Rows inside the window."""
        return int(self.counts.sum())

    def points(self) -> tuple[FloatArray, FloatArray]:
        """Masses and how often each occurs, both of shape (m,): rows, or centres of filled bins."""
        if self._kept is not None:
            mass = np.concatenate(self._kept) if self._kept else np.empty(0)
            return mass, np.ones(len(mass))
        edges = self.edges(FINE_BINS)
        filled = self.counts > 0
        return (0.5 * (edges[1:] + edges[:-1]))[filled], self.counts[filled]

    @property
    def unbinned(self) -> bool:
        """Whether each mass is still there."""
        return self._kept is not None

    def histogram(self, bins: int) -> FloatArray:
        """Counts in `bins` equal bins, a divisor of `FINE_BINS`, shape (bins,)."""
        return np.asarray(self.counts.reshape(bins, -1).sum(axis=1))

    def edges(self, bins: int) -> FloatArray:
        """Edges of `bins` equal bins, shape (bins + 1,)."""
        return np.linspace(*self.window, bins + 1)


def inside(mass: FloatArray, window: tuple[float, float]) -> npt.NDArray[np.bool_]:
    """Rows with lower end <= mass <= upper end, shape (n,)."""
    return (mass >= window[0]) & (mass <= window[1])
