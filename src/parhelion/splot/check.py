"""Whether mass and a control variable factorise within each component, without which sWeights are biased."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import chdtrc

from parhelion.errors import DataError, ShapeError
from parhelion.splot.fit import MassFit
from parhelion.splot.minimise import COMPONENTS

FloatArray = npt.NDArray[np.float64]

_SIDEBAND_SHARE = 0.05
_CORE, _WINGS = 0.7, 2.0
_MIN_ROWS = 100


@dataclass(frozen=True)
class Contrast:
    """Comparison of a control variable's distribution between two mass regions.

    Attributes
    ----------
    name
        What is compared.
    chi2, ndf, p_value
        Chi-square of the difference, bins less one, and the probability of a larger value under factorisation.
    """

    name: str
    chi2: float
    ndf: int
    p_value: float


@dataclass(frozen=True)
class FactorisationCheck:
    """Contrasts within background and within signal; see `factorisation_check`."""

    contrasts: tuple[Contrast, ...]

    @property
    def p_value(self) -> float:
        """Smallest p-value, corrected for the number of contrasts (Bonferroni)."""
        return min(1.0, len(self.contrasts) * min(c.p_value for c in self.contrasts))

    def warning(self, control: str, *, level: float = 1e-3) -> str | None:
        """One sentence if factorisation is rejected at this level, else None."""
        if self.p_value >= level:
            return None
        worst = min(self.contrasts, key=lambda c: c.p_value)
        return (
            f"{control} depends on the mass ({worst.name}: chi2/ndf {worst.chi2:.1f}/{worst.ndf}, "
            f"p = {worst.p_value:.1g}), so its sWeighted distribution is biased; fit in bins of what drives both"
        )


def factorisation_check(
    control: npt.ArrayLike, mass: npt.ArrayLike, fit: MassFit, *, bins: int = 10
) -> FactorisationCheck:
    """Test that a control variable is independent of the mass within background and within signal.

    Background: lower against upper sideband. Signal, after subtraction of the background that the fit expects and
    the sidebands describe: below against above the peak, and its core (0.7 widths) against its wings (to 2 widths).
    Each contrast is a histogram of signed weights that vanishes on average if both components factorise, with
    chi-square sum (sum w)^2 / sum w^2 over bins of equal population.

    Parameters
    ----------
    control
        Control variable, shape (n,).
    mass
        Masses inside the window, shape (n,).
    fit
        Fit of these masses.
    bins
        Bins of the control variable.

    Raises
    ------
    DataError
        A mass region has fewer than 100 rows, or the control variable has one value only.
    ShapeError
        The two arrays differ in shape.
    """
    x = np.asarray(control, dtype=np.float64)
    m = np.asarray(mass, dtype=np.float64)
    if x.ndim != 1 or x.shape != m.shape:
        msg = f"control variable and mass: expected two arrays of shape (n,), got {x.shape} and {m.shape}"
        raise ShapeError(msg)
    if not fit.inside(m).all():
        msg = "mass: rows outside the fitted window; keep only rows inside it"
        raise DataError(msg)
    edges = np.unique(np.quantile(x, np.linspace(0, 1, bins + 1)[1:-1]))
    index = np.searchsorted(edges, x, side="right")
    if len(np.unique(index)) < 2:
        msg = f"the control variable is {np.median(x):g} in nearly all rows, so there is no distribution to compare"
        raise DataError(msg)

    mean, width = fit.parameters["mean"], fit.parameters["width"]
    densities = fit.model.densities(m, fit.parameters)
    rows = densities * np.asarray([fit.yields[c] for c in COMPONENTS])
    side = rows[:, 0] < _SIDEBAND_SHARE * rows.sum(axis=1)
    lower = side & (m < mean)
    if min(lower.sum(), (side & ~lower).sum()) < _MIN_ROWS and side.any():
        # The peak leaves one sideband only: compare its two halves.
        lower = side & (m < np.median(m[side]))
    upper = side & ~lower
    pull = (m - mean) / width
    below, above = (pull < 0) & (pull > -_WINGS) & ~side, (pull >= 0) & (pull < _WINGS) & ~side
    core = (np.abs(pull) < _CORE) & ~side
    wings = (below | above) & ~core
    regions = {"lower sideband": lower, "upper sideband": upper, "below the peak": below, "above the peak": above}
    for name, region in regions.items():
        if region.sum() < _MIN_ROWS:
            msg = (
                f"mass: {int(region.sum())} rows in the {name}, at least {_MIN_ROWS} are needed to compare; "
                "widen the window or take more rows"
            )
            raise DataError(msg)

    contrasts = [_contrast("lower against upper sideband", lower / lower.sum() - upper / upper.sum(), index)]
    for name, a, b in (
        ("signal below against above the peak", below, above),
        ("signal core against wings", core, wings),
    ):
        share = rows[:, 1] / rows.sum(axis=1)
        weight = np.zeros(len(m))
        for sign, region in ((1.0, a), (-1.0, b)):
            background = share[region].sum()
            signal = region.sum() - background
            weight[region] += sign / signal
            weight[side] -= sign * background / signal / side.sum()
        contrasts.append(_contrast(name, weight, index))
    return FactorisationCheck(tuple(contrasts))


def _contrast(name: str, weight: FloatArray, index: npt.NDArray[np.intp]) -> Contrast:
    size = int(index.max()) + 1
    total = np.bincount(index, weight, minlength=size)
    squares = np.bincount(index, weight**2, minlength=size)
    filled = squares > 0
    chi2, ndf = float(np.sum(total[filled] ** 2 / squares[filled])), int(filled.sum()) - 1
    return Contrast(name, chi2, ndf, float(chdtrc(ndf, chi2)) if ndf > 0 else 1.0)
