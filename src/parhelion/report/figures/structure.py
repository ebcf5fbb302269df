"""Exact equalities: how often each pattern of ties occurs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from parhelion.evaluation.results.result import MetricResult
from parhelion.report.figures.arrays import numbers
from parhelion.report.style import GENERATED, LABEL, REFERENCE, new_figure, pretty, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def structure_figure(result: MetricResult, *, label: str = LABEL) -> Figure:
    """Share of rows with each pattern of exact equalities, and the difference beside it.

    Parameters
    ----------
    result
        Result of the metric ``structure``.
    label
        Text above the figure.
    """
    d = result.details
    patterns = [pretty(str(p)) for p in d["patterns"]]
    at = np.arange(len(patterns), dtype=float)
    shares = {side: 100 * numbers(d[side]["share"]) for side in ("reference", "generated")}
    errors = {side: np.nan_to_num(100 * numbers(d[side]["error"])) for side in ("reference", "generated")}
    with style():
        figure = new_figure(14.0, 1.7 + 0.42 * max(len(patterns), 2), result.on, label)
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.5, 1.0])
        left.barh(at, shares["generated"], height=0.62, color=GENERATED, alpha=0.3, label="generated")
        left.errorbar(
            shares["reference"], at, xerr=errors["reference"], fmt="o", ms=4.5, color=REFERENCE, label="reference"
        )
        left.set_yticks(at, patterns)
        left.invert_yaxis()
        left.set_xlabel("Share of weight [%]")
        left.legend(loc="lower right")
        right.axvline(0.0, color=REFERENCE, lw=0.9)
        right.errorbar(
            100 * numbers(d["difference"]),
            at,
            xerr=np.nan_to_num(100 * numbers(d["difference_error"])),
            fmt="o",
            ms=4.5,
            color=GENERATED,
        )
        right.set_xlabel("Generated − reference [percentage points]")
        reach = np.abs(100 * numbers(d["difference"])) + np.nan_to_num(100 * numbers(d["difference_error"]))
        limit = 1.2 * max(float(np.nanmax(reach, initial=0.0)), 1e-3)
        right.set_xlim(-limit, limit)
        for axes in (left, right):
            axes.tick_params(axis="y", which="both", left=False, right=False)
    return figure
