"""Averages of vectors, and response and resolution in bins, each with the ratio of generated to reference below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from parhelion.evaluation.results.result import MetricResult
from parhelion.report.figures.arrays import FloatArray, measured, numbers
from parhelion.report.figures.drawing import panel_stacks, points
from parhelion.report.style import GENERATED, LABEL, NULL, REFERENCE, note, style, with_unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

_LOG_SPAN = 60.0


def curve_figure(result: MetricResult, *, label: str = LABEL) -> Figure:
    """Average of one vector field, component by component; logarithmic where it spans a factor of 60 or more.

    Parameters
    ----------
    result
        Result of the metric ``curves``.
    label
        Text above the figure.
    """
    d = result.details
    x = np.arange(len(d["difference"]), dtype=np.float64)
    (p, dp), (q, dq) = ((numbers(d[s]["mean"]), numbers(d[s]["error"])) for s in ("reference", "generated"))
    ratio, error = numbers(d["ratio"]), numbers(d["difference_error"])
    with style():
        figure, stacks = panel_stacks(1, (3.0, 1.2), result.on, label)
        upper, lower = stacks[0]
        _both(upper, x, (p, dp), (q, dq))
        seen = p[p > 0]
        if len(seen) and seen.max() > _LOG_SPAN * seen.min():
            upper.set_yscale("log")
        upper.set_ylabel(with_unit("Average", str(d["unit"])))
        chi2 = result.quantity("chi2_ndf")
        note(upper, f"χ²/ndf {measured(chi2.value)} (null {measured(chi2.null, chi2.null_error)})", "lower left")
        relative = np.divide(error, p, out=np.full_like(p, np.nan), where=p > 0)
        _ratio(lower, x, ratio, relative)
        lower.set_xlabel(f"Component of {result.on}")
    return figure


def resolution_figure(results: Sequence[MetricResult], *, label: str = LABEL) -> Figure:
    """Mean and resolutions of one observable in bins of a condition, a stack of panels each.

    Parameters
    ----------
    results
        Results of the metric ``resolution`` on one field.
    label
        Text above the figure.
    """
    with style():
        figure, stacks = panel_stacks(len(results), (3.0, 1.2), str(results[0].details["field"]), label)
        for (upper, lower), result in zip(stacks, results, strict=True):
            d = result.details
            low, high = numbers(d["low"]), numbers(d["high"])
            logarithmic = bool((low > 0).all() and high.max() > 10 * low.min())
            x = np.sqrt(low * high) if logarithmic else (low + high) / 2
            p, q = numbers(d["reference"]), numbers(d["generated"])
            none = np.zeros_like(p)
            _both(upper, x, (p, none), (q, none))
            _ratio(lower, x, q / p, numbers(d["difference_error"]))
            if logarithmic:
                lower.set_xscale("log")
            upper.set_ylabel(result.on[:1].upper() + result.on[1:])
            lower.set_xlabel(with_unit(str(d["x"]), str(d["x_unit"])))
    return figure


def _both(
    axes: Any, x: FloatArray, reference: tuple[FloatArray, FloatArray], generated: tuple[FloatArray, FloatArray]
) -> None:
    axes.plot(x, generated[0], color=GENERATED, label="generated")
    axes.fill_between(x, generated[0] - generated[1], generated[0] + generated[1], color=GENERATED, alpha=0.35, lw=0)
    points(axes, x, reference[0], reference[1], color=REFERENCE, label="reference")
    axes.legend(loc="upper right", fontsize=10.5)


def _ratio(axes: Any, x: FloatArray, ratio: FloatArray, error: FloatArray) -> None:
    axes.axhline(1.0, color=NULL, lw=1.0)
    points(axes, x, ratio, np.nan_to_num(error), color=GENERATED)
    away = np.abs(ratio - 1)[np.isfinite(ratio) & (error < 0.5)]
    reach = float(np.clip(1.3 * away.max(initial=0.0), 0.02, 1.0))
    axes.set_ylim(1 - reach, 1 + reach)
    axes.set_ylabel("gen. / ref.")
