"""The maximum-likelihood fit itself: start values, Minuit, and the yields to rounding error."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from parhelion.errors import DataError
from parhelion.splot.model import MassModel, look
from parhelion.splot.shape import Start
from parhelion.splot.spectrum import FINE_BINS, MassSpectrum

FloatArray = npt.NDArray[np.float64]

COMPONENTS = ("signal", "background")

_PREFIT_BINS = 500
# Rows evaluated at once: bounds the temporary arrays.
_BLOCK = 1 << 14


@dataclass(frozen=True)
class Maximum:
    """Maximum of the likelihood.

    Attributes
    ----------
    values, errors
        Yields and shape parameters by name; a fixed one has error 0.
    at_limit
        Shape parameters that ended at a limit.
    significance
        Square root of twice the drop in log likelihood without signal (Wilks 1938).
    """

    values: dict[str, float]
    errors: dict[str, float]
    at_limit: tuple[str, ...]
    significance: float


def minimise(spectrum: MassSpectrum, model: MassModel) -> Maximum:
    """Maximise the extended likelihood of the spectrum.

    Raises
    ------
    DataError
        The fit does not converge.
    """
    from iminuit import cost

    names = [*COMPONENTS, *model.parameters]
    split = 2 + len(model.signal.parameters)
    window = model.window

    def integral(x: FloatArray, *p: float) -> FloatArray:
        return p[0] * model.signal.cdf(x, window, p[2:split]) + p[1] * model.background.cdf(x, window, p[split:])

    def density(x: FloatArray, *p: float) -> tuple[float, FloatArray]:
        total = np.empty_like(x)
        for begin in range(0, len(x), _BLOCK):
            block = x[begin : begin + _BLOCK]
            signal = p[0] * model.signal.pdf(block, window, p[2:split])
            total[begin : begin + _BLOCK] = signal + p[1] * model.background.pdf(block, window, p[split:])
        # A polynomial may turn negative on the way; a tiny density is a wall that the minimiser turns back from.
        return p[0] + p[1], np.maximum(total, 1e-300, out=total)

    def binned(bins: int) -> Any:
        return cost.ExtendedBinnedNLL(spectrum.histogram(bins), spectrum.edges(bins), integral, name=names)

    starts = _starts(spectrum, model)
    coarse = binned(_PREFIT_BINS)
    first = _run_minuit(coarse, starts, set(model.fixed), careful=False)
    starts = {k: Start(first.values[k], s.lower, s.upper) for k, s in starts.items()}
    if spectrum.unbinned:
        target = cost.ExtendedUnbinnedNLL(spectrum.points()[0], density, name=names)
    else:
        target = binned(FINE_BINS)
    steps = {k: float(first.errors[k]) for k in names}
    final = _run_minuit(target, starts, set(model.fixed), careful=True, steps=steps)
    if not final.valid:
        low, high = window
        state = ", ".join(f"{k} = {final.values[k]:.4g}" for k in names)
        msg = (
            f"{spectrum.source}: the mass fit of {spectrum.rows} rows in {low:g} to {high:g} does not converge "
            f"({state}); give start values, fix a parameter, or choose simpler shapes than {model.signal.name} and "
            f"{model.background.name}"
        )
        raise DataError(msg)
    without = {
        **starts,
        "signal": Start(0.0, 0.0, starts["signal"].upper),
        "background": replace(starts["background"], value=float(spectrum.rows)),
    }
    null = _run_minuit(coarse, without, {"signal", *model.signal.parameters, *model.fixed}, careful=False)
    at_limit = tuple(
        k
        for k, s in starts.items()
        if k in model.parameters
        and not final.fixed[k]
        and min(final.values[k] - s.lower, s.upper - final.values[k]) < 1e-3 * (s.upper - s.lower)
    )
    values = {k: float(final.values[k]) for k in names}
    errors = {k: 0.0 if final.fixed[k] else float(final.errors[k]) for k in names}
    return Maximum(values, errors, at_limit, math.sqrt(max(null.fval - first.fval, 0.0)))


def _starts(spectrum: MassSpectrum, model: MassModel) -> dict[str, Start]:
    hint = look(spectrum.histogram(_PREFIT_BINS), model.window)
    base = 0.5 * (hint.left + hint.right) * _PREFIT_BINS
    rows = float(spectrum.rows)
    signal = min(max(rows - base, 0.05 * rows), 0.95 * rows)
    top = 2 * rows + 100
    return {"signal": Start(signal, 0.0, top), "background": Start(rows - signal, 0.0, top), **model.starts(hint)}


def _run_minuit(
    target: Any,
    starts: Mapping[str, Start],
    fixed: set[str],
    *,
    careful: bool,
    steps: Mapping[str, float] | None = None,
) -> Any:
    from iminuit import Minuit
    from iminuit.warnings import IMinuitWarning

    minuit = Minuit(target, **{k: s.value for k, s in starts.items()})
    for name, start in starts.items():
        minuit.limits[name] = (start.lower, start.upper)
        minuit.fixed[name] = name in fixed
        if steps is not None and not minuit.fixed[name]:
            minuit.errors[name] = max(steps[name], 1e-9 * (start.upper - start.lower))
    minuit.strategy = 1 if careful else 0
    with warnings.catch_warnings():
        # `valid` says what counts; the trial points may overflow on their way.
        warnings.simplefilter("ignore", IMinuitWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        minuit.migrad()
        if not minuit.valid:
            minuit.simplex()
            minuit.migrad()
        if careful:
            minuit.hesse()
            if not minuit.valid:
                minuit.strategy = 2
                minuit.migrad()
    return minuit


def exact_yields(
    points: FloatArray,
    times: FloatArray,
    model: MassModel,
    parameters: Mapping[str, float],
    yields: FloatArray,
    source: str,
) -> tuple[FloatArray, FloatArray]:
    """Maximise the likelihood in the yields at fixed shapes, by Newton's method.

    At the maximum the sWeights of each row add to 1, which a minimiser's tolerance alone would not give.

    Parameters
    ----------
    points, times
        Masses and how often each occurs, shape (n,).
    model, parameters
        Shapes and their parameters.
    yields
        Signal and background to start from, shape (2,).
    source
        Where the masses come from, for the message.

    Returns
    -------
    yields
        Shape (2,).
    matrix
        Inverse of sum p_i p_j / N^2 over rows (Pivk & Le Diberder, eq. 11), shape (2, 2).

    Raises
    ------
    DataError
        Signal and background shapes are too alike to tell apart.
    """
    for _ in range(30):
        inverse = np.zeros((2, 2))
        gradient = np.zeros(2)
        for begin in range(0, len(points), _BLOCK):
            block = slice(begin, begin + _BLOCK)
            densities = model.densities(points[block], parameters)
            relative = densities / (densities @ yields)[:, None]
            inverse += (relative * times[block, None]).T @ relative
            gradient += times[block] @ relative
        matrix = np.linalg.inv(inverse)
        residual = gradient - 1.0
        if np.abs(residual).max() < 1e-13:
            break
        step = matrix @ residual
        if np.abs(step).max() < 1e-14 * yields.sum():
            break
        # Half-way to zero at most: the likelihood is concave in the yields, so this still converges.
        yields = np.maximum(yields + step, 0.5 * yields)
    else:
        msg = f"{source}: the yields do not converge at the fitted shapes; signal and background shapes may be the same"
        raise DataError(msg)
    return yields, np.asarray(matrix, dtype=np.float64)
