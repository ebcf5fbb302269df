"""sPlot on toys with known truth: time of the fit, closure on the true signal, difference to an oracle.

Run: python benchmarks/splot_closure.py [--rows 5000 50000 500000] [--seed 1]

Signal: two Gaussians with a common mean; background: an exponential; equal shares. The control variable is drawn
independently of the mass in each component. Closure: chi-square between the sWeighted histogram of the control variable
and its exact expectation, 20 bins, normalised. Oracle: the matrix formula with each row summed in 80-bit arithmetic.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.stats import chi2, norm

from parhelion.splot import MassFit, MassModel, factorisation_check, fit_mass
from parhelion.splot.peaks import DoubleGaussian
from parhelion.weights import summarise

WINDOW = (1.80, 1.93)
TRUTH = {"mean": 1.86484, "width": 0.007, "ratio": 1.9, "fraction": 0.7, "slope": 0.6}


def draw(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    model = MassModel(WINDOW, DoubleGaussian())
    grid = np.linspace(*WINDOW, 20_001)
    masses = []
    for shape in (model.signal, model.background):
        values = [TRUTH[p] for p in shape.parameters]
        masses.append(np.interp(rng.random(rows // 2), shape.cdf(grid, WINDOW, values), grid))
    control = np.concatenate([rng.normal(1, 1, rows // 2), rng.normal(-1, 1.5, rows // 2)])
    return np.concatenate(masses), control


def closure(control: np.ndarray, weight: np.ndarray) -> tuple[float, int]:
    edges = np.concatenate([[-np.inf], np.linspace(-1.2, 3.2, 19), [np.inf]])
    index = np.searchsorted(edges, control) - 1
    have = np.bincount(index, weight, minlength=20)
    squares = np.bincount(index, weight**2, minlength=20)
    share, total = np.diff(norm.cdf(edges, 1, 1)), weight.sum()
    # Covariance of normalised weighted counts: bins share their total.
    p = have / total
    matrix = np.diag(squares) - np.outer(squares, p) - np.outer(p, squares) + np.outer(p, p) * squares.sum()
    difference = p - share
    return float(difference @ np.linalg.pinv(matrix / total**2, hermitian=True) @ difference), len(p) - 1


def oracle(fit: MassFit, mass: np.ndarray) -> np.ndarray:
    densities = fit.model.densities(mass, fit.parameters).astype(np.longdouble)
    relative = densities / (densities @ np.asarray(list(fit.yields.values()), dtype=np.longdouble))[:, None]
    (a, b), (_, d) = relative.T @ relative
    return ((d * relative[:, 0] - b * relative[:, 1]) / (a * d - b * b)).astype(np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[5_000, 50_000, 500_000])
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(
        f"{'rows':>8} {'fit':>8} {'time/s':>7} {'signal':>17} {'true':>7} {'fit chi2/ndf':>13} {'negative':>8} "
        f"{'N_eff/N':>8} {'closure chi2/ndf (p)':>21} {'unweighted':>11} {'sum-S':>8} {'oracle':>8} {'factor. p':>9}"
    )
    for rows in options.rows:
        mass, control = draw(rows, options.seed)
        fit = fit_mass(mass, MassModel(WINDOW, DoubleGaussian()))
        weight = fit.sweights(mass)[:, 0]
        summary = summarise(weight)
        value, ndf = closure(control, weight)
        naive, _ = closure(control, np.ones(rows))
        check = factorisation_check(control, mass, fit)
        signal = f"{fit.yields['signal']:,.0f}+-{fit.yield_errors['signal']:,.0f}"
        print(
            f"{rows:8d} {'unbinned' if fit.unbinned else 'binned':>8} {fit.seconds:7.2f} {signal:>17} {rows // 2:7d} "
            f"{f'{fit.chi2:.0f}/{fit.ndf}':>13} {summary.negative_share:8.3f} {summary.effective / rows:8.3f} "
            f"{f'{value:.1f}/{ndf} ({chi2.sf(value, ndf):.2f})':>21} {f'{naive:.0f}/{ndf}':>11} "
            f"{abs(summary.total / fit.yields['signal'] - 1):8.1e} {np.abs(weight - oracle(fit, mass)).max():8.1e} "
            f"{check.p_value:9.2f}"
        )


if __name__ == "__main__":
    main()
