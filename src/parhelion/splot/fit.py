"""Fit of a mass spectrum, and the sWeights that follow from it.

M. Pivk, F. R. Le Diberder, "sPlot: a statistical tool to unfold data distributions", Nucl. Instrum. Meth. A 555 (2005)
356, physics/0402083.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import chdtrc

from parhelion.errors import DataError
from parhelion.splot.minimise import COMPONENTS, Maximum, exact_yields, minimise
from parhelion.splot.model import MassModel
from parhelion.splot.spectrum import FINE_BINS, MassSpectrum, inside

FloatArray = npt.NDArray[np.float64]

_MIN_ROWS = 50
_SHOWN_BINS = 100
_MIN_SIGNIFICANCE = 5.0


@dataclass(frozen=True)
class MassFit:
    """Result of a mass fit; it carries all that is needed to weight further rows.

    Attributes
    ----------
    model
        What was fitted.
    yields, yield_errors
        Rows of each component and their errors from the full fit, keys signal and background.
    parameters, errors
        Shape parameters and their errors by name, in the model's units; a fixed one has error 0.
    at_limit
        Parameters that ended at a limit: their errors mean little.
    weight_matrix
        V of eq. 11, shape (2, 2), at fixed shapes.
    rows, rows_outside
        Rows inside the window, and those left out.
    counts
        Histogram of the window in equal bins.
    chi2, ndf
        Pearson chi-square of the histogram, bins merged to >= 10 expected rows; free parameters subtracted.
    unbinned
        Whether each mass entered the fit, or a histogram of `FINE_BINS` bins.
    seconds
        Time of the fit.
    """

    model: MassModel
    yields: Mapping[str, float]
    yield_errors: Mapping[str, float]
    parameters: Mapping[str, float]
    errors: Mapping[str, float]
    at_limit: tuple[str, ...]
    weight_matrix: tuple[tuple[float, float], tuple[float, float]]
    rows: int
    rows_outside: int
    counts: tuple[int, ...]
    chi2: float
    ndf: int
    unbinned: bool
    seconds: float

    @property
    def p_value(self) -> float:
        """Probability of a larger chi-square if the model is right."""
        return float(chdtrc(self.ndf, self.chi2)) if self.ndf > 0 else 1.0

    def inside(self, mass: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Rows within the window, shape (n,)."""
        return inside(np.asarray(mass, dtype=np.float64), self.model.window)

    def sweights(self, mass: npt.ArrayLike) -> FloatArray:
        """Per-row sWeights (Pivk & Le Diberder, eq. 15).

        Over the rows of an unbinned fit each column sums to its yield, and the two columns add to 1 in each row.

        Parameters
        ----------
        mass
            Masses inside the window, shape (n,).

        Returns
        -------
        ndarray
            Shape (n, 2): signal, background.

        Raises
        ------
        DataError
            A mass is outside the window or not finite.
        """
        x = np.asarray(mass, dtype=np.float64)
        out = ~self.inside(x)
        if out.any():
            low, high = self.model.window
            row = int(np.argmax(out))
            msg = (
                f"mass, row {row}: {x[row]:g} is outside the fitted window {low:g} to {high:g}, where sWeights are "
                "not defined; keep only rows inside it"
            )
            raise DataError(msg)
        densities = self.model.densities(x, self.parameters)
        total = densities @ np.asarray([self.yields[c] for c in COMPONENTS])
        return np.asarray(densities @ np.asarray(self.weight_matrix).T / total[:, None])

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON; `from_dict` gives back the identical fit."""
        return {
            **{k: v for k, v in self.__dict__.items() if k != "model"},
            "model": self.model.to_dict(),
            "yields": dict(self.yields),
            "yield_errors": dict(self.yield_errors),
            "parameters": dict(self.parameters),
            "errors": dict(self.errors),
            "at_limit": list(self.at_limit),
            "weight_matrix": [list(row) for row in self.weight_matrix],
            "counts": list(self.counts),
        }

    @classmethod
    def from_dict(cls, spec: Mapping[str, Any]) -> MassFit:
        """Undo `to_dict`.

        Raises
        ------
        DataError
            The mapping is not one that `to_dict` made.
        """
        try:
            (a, b), (c, d) = spec["weight_matrix"]
            changed = {
                "model": MassModel.from_dict(spec["model"]),
                "at_limit": tuple(spec["at_limit"]),
                "weight_matrix": ((a, b), (c, d)),
                "counts": tuple(spec["counts"]),
            }
            return cls(**{**spec, **changed})
        except (KeyError, TypeError, ValueError) as error:
            msg = f"this is not a stored mass fit ({error}); fit the masses again"
            raise DataError(msg) from error

    def __str__(self) -> str:
        """Two lines for terminals."""
        how = "unbinned" if self.unbinned else f"binned, {FINE_BINS:,} bins"
        low, high = self.model.window
        parts = [f"{c} {self.yields[c]:,.0f} +- {self.yield_errors[c]:,.0f}" for c in COMPONENTS]
        shape = [
            f"{k} {v:.5g}" + (f" +- {self.errors[k]:.2g}" if self.errors[k] > 0 else " (fixed)")
            for k, v in self.parameters.items()
        ]
        return (
            f"{self.rows:,} rows in {low:g} to {high:g} ({self.rows_outside:,} outside): {', '.join(parts)}; "
            f"chi2/ndf {self.chi2:.1f}/{self.ndf} (p = {self.p_value:.2g}); {how} fit in {self.seconds:.1f} s\n"
            f"{', '.join(shape)}"
        )


def fit_mass(mass: npt.ArrayLike | MassSpectrum, model: MassModel, *, source: str = "mass") -> MassFit:
    """Fit signal and background yields and shapes to a mass spectrum.

    A binned fit finds the start values; the extended unbinned likelihood (R. Barlow, Nucl. Instrum. Meth. A 297 (1990)
    496) of up to `UNBINNED_LIMIT` rows, or the extended binned likelihood of a fine histogram beyond, gives the result.
    The yields are then brought to the exact maximum at the fitted shapes, where the sWeights of a row add to 1.

    Parameters
    ----------
    mass
        Masses, shape (n,), or what a `MassSpectrum` collected; unweighted.
    model
        Window and shapes.
    source
        Where the masses come from, for messages.

    Raises
    ------
    DataError
        Fewer than 50 rows are inside the window, all have one mass, a mass is not finite, the fit does not converge,
        a shape becomes negative, or there is no significant signal, or no background.
    """
    began = time.perf_counter()
    if isinstance(mass, MassSpectrum):
        spectrum = mass
    else:
        spectrum = MassSpectrum(model.window, source=source)
        spectrum.add(mass)
    _check_spectrum(spectrum, model)
    source = spectrum.source
    best = minimise(spectrum, model)
    _check_result(best, spectrum, model)
    parameters = {name: best.values[name] for name in model.parameters}

    points, times = spectrum.points()
    start = np.asarray([best.values[c] for c in COMPONENTS])
    yields, matrix = exact_yields(points, times, model, parameters, start, source)
    counts = spectrum.histogram(_SHOWN_BINS)
    free = 2 + len(model.parameters) - len(model.fixed)
    expected = model.expected(spectrum.edges(_SHOWN_BINS), parameters) @ yields
    chi2, ndf = _pearson(counts, expected, free)
    return MassFit(
        model=model,
        yields=dict(zip(COMPONENTS, yields.tolist(), strict=True)),
        yield_errors={c: best.errors[c] for c in COMPONENTS},
        parameters=parameters,
        errors={name: best.errors[name] for name in model.parameters},
        at_limit=best.at_limit,
        weight_matrix=((matrix[0, 0], matrix[0, 1]), (matrix[1, 0], matrix[1, 1])),
        rows=spectrum.rows,
        rows_outside=spectrum.seen - spectrum.rows,
        counts=tuple(int(c) for c in counts),
        chi2=chi2,
        ndf=ndf,
        unbinned=spectrum.unbinned,
        seconds=time.perf_counter() - began,
    )


def _check_spectrum(spectrum: MassSpectrum, model: MassModel) -> None:
    low, high = model.window
    where = f"{spectrum.source}: the window {low:g} to {high:g}"
    if spectrum.window != model.window:
        start, end = spectrum.window
        msg = f"{where} of the model is not that of the collected masses, {start:g} to {end:g}"
        raise DataError(msg)
    if spectrum.rows == 0:
        msg = f"{where} holds none of the {spectrum.seen} rows; check its unit (GeV, not MeV) and its ends"
        raise DataError(msg)
    if spectrum.rows < _MIN_ROWS:
        msg = (
            f"{where} holds {spectrum.rows} of {spectrum.seen} rows, and a mass fit needs at least {_MIN_ROWS}; "
            "widen the window or take more rows"
        )
        raise DataError(msg)
    points = spectrum.points()[0]
    if points.min() == points.max():
        msg = f"{where}: all {spectrum.rows} rows have the mass {points[0]:g}, so there is no spectrum to fit"
        raise DataError(msg)


def _check_result(best: Maximum, spectrum: MassSpectrum, model: MassModel) -> None:
    low, high = model.window
    where = f"{spectrum.source}: mass fit in {low:g} to {high:g}"
    signal, background = (best.values[c] for c in COMPONENTS)
    if best.significance < _MIN_SIGNIFICANCE or signal < 1.0:
        msg = (
            f"{where}: no significant signal among {spectrum.rows} rows (yield {signal:.1f} +- "
            f"{best.errors['signal']:.1f}, significance {best.significance:.1f}, at least {_MIN_SIGNIFICANCE:g} is "
            "needed); check the window and the mass column"
        )
        raise DataError(msg)
    if background < 1.0:
        msg = (
            f"{where}: the background yield is {background:.2g} of {spectrum.rows} rows, at its limit of zero; "
            "use the rows unweighted, or widen the window until background shows"
        )
        raise DataError(msg)
    densities = model.densities(spectrum.edges(10 * _SHOWN_BINS), best.values)
    for name, column in zip(COMPONENTS, densities.T, strict=True):
        if not np.isfinite(column).all() or column.min() < 0:
            msg = (
                f"{where}: the {name} shape {getattr(model, name).name} becomes negative; "
                "use a lower degree or an exponential"
            )
            raise DataError(msg)


def _pearson(counts: FloatArray, expected: FloatArray, free: int) -> tuple[float, int]:
    """Chi-square of a histogram, neighbouring bins merged to at least 10 expected rows."""
    seen: list[float] = []
    hoped: list[float] = []
    have = want = 0.0
    for c, e in zip(counts.tolist(), expected.tolist(), strict=True):
        have, want = have + c, want + e
        if want >= 10:
            seen.append(have)
            hoped.append(want)
            have = want = 0.0
    if hoped and want > 0:
        seen[-1] += have
        hoped[-1] += want
    o, e_all = np.asarray(seen), np.asarray(hoped)
    return float(np.sum((o - e_all) ** 2 / e_all)), max(len(o) - free, 0)
