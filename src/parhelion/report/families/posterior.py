"""Figures of posterior calibration: ranks, coverage and TARP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import numpy as np

from parhelion.evaluation.results.result import MetricResult
from parhelion.report.content import ReportContent
from parhelion.report.entries import Entry, events, named, sentence, slug
from parhelion.report.figures.arrays import FloatArray, measured, numbers, probability
from parhelion.report.figures.drawing import points
from parhelion.report.style import BAND, GENERATED, LABEL, REFERENCE, new_figure, note, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SECTION: Final = "Posterior calibration"


def entries(content: ReportContent) -> Iterator[Entry]:
    """Figures of the metric ``posterior``."""
    for result in named(content, "posterior"):
        if result.on == "all parameters":
            what = "of the truth's distance to the draws' centre"
            shapes = "High at the right: draws too narrow or biased; high at the left: too wide."
        else:
            what = "of the truth"
            shapes = "High at both ends: draws too narrow; high in the middle: too wide; a slope: biased."
        caption = (
            f"{sentence(result)} Top left: ranks {what} among its {int(result.details['draws'])} draws, flat if "
            f"calibrated; the band is one standard deviation. {shapes} Top right: the cumulative ranks minus their "
            "expectation; a calibrated curve stays in the band as a whole in 95 % of experiments. Bottom left: share "
            f"of the truths inside credible {result.details['coverage']['regions']} minus their level, with "
            "Clopper-Pearson intervals; below 0 the draws claim too much. Bottom right: expected coverage of regions "
            f"around random reference points (TARP) minus its level, with such a band. {events(result)}"
        )
        yield Entry(SECTION, slug("posterior", result.on), caption, posterior_figure(result, label=content.label))


def posterior_figure(result: MetricResult, *, label: str = LABEL) -> Figure:
    """Rank histogram, cumulative ranks, coverage and TARP of one parameter.

    Parameters
    ----------
    result
        Result of the metric ``posterior``.
    label
        Text above the figure.
    """
    with style():
        figure = new_figure(13.0, 8.4, result.on, label)
        axes = figure.subplots(2, 2)
        _histogram(axes[0, 0], result)
        _cumulative(axes[0, 1], result)
        _coverage(axes[1, 0], result)
        _tarp(axes[1, 1], result)
    return figure


def _histogram(axes: Axes, result: MetricResult) -> None:
    d = result.details["ranks"]
    share, expected = numbers(d["share"]), numbers(d["expected_error"])
    bins = len(share)
    edges = np.linspace(0.0, 1.0, bins + 1)
    axes.stairs(
        1.0 + bins * expected,
        edges,
        baseline=1.0 - bins * expected,
        fill=True,
        color=BAND,
        alpha=0.25,
        label="uniform ± 1σ",
    )
    axes.axhline(1.0, color=REFERENCE, lw=0.9)
    axes.stairs(bins * share, edges, baseline=None, color=GENERATED, lw=1.6, label="ranks")
    top, bottom = float(np.max(bins * share)), float(np.min(bins * share))
    reach = max(top - 1.0, 1.0 - bottom, 3.0 * bins * float(np.max(expected)))
    axes.set_ylim(1.0 - 1.3 * reach if bottom < 0 else max(1.0 - 1.3 * reach, 0.0), 1.0 + 1.9 * reach)
    axes.set_xlim(0, 1)
    axes.set_xlabel("Rank of the truth / (number of draws + 1)")
    axes.set_ylabel("Density")
    chi2 = result.quantity("rank_chi2_ndf")
    lines = [f"χ²/ndf = {float(d['chi2']):.1f}/{int(d['ndf'])}", f"p = {probability(chi2.p_value)}"]
    note(axes, "\n".join(lines))
    axes.legend(loc="upper right")


def _cumulative(axes: Axes, result: MetricResult) -> None:
    d = result.details["ranks"]
    curve, band = numbers(d["curve"]), numbers(d["band"])
    at = np.linspace(0.0, 1.0, len(curve) + 2)
    _banded(axes, at, np.r_[0.0, curve, 0.0], np.r_[0.0, band, 0.0])
    axes.set_xlabel("Rank of the truth / (number of draws + 1)")
    axes.set_ylabel("Cumulative share − expectation")
    note(axes, f"p = {probability(d['band_p_value'])}")


def _coverage(axes: Axes, result: MetricResult) -> None:
    d = result.details["coverage"]
    level, share, low, high = (numbers(d[key]) for key in ("level", "share", "low", "high"))
    axes.axhline(0.0, color=REFERENCE, lw=0.9)
    gap = np.full(len(level), np.nan)
    axes.plot(
        np.stack([level, level, gap]).T.ravel(),
        np.stack([low - level, high - level, gap]).T.ravel(),
        color=GENERATED,
        lw=1.0,
    )
    points(axes, level, share - level, np.zeros(len(level)), color=GENERATED, ms=4.5)
    limit = 1.7 * max(float(np.max(np.abs(np.concatenate([low - level, high - level])))), 1e-3)
    axes.set_ylim(-limit, limit)
    axes.set_xlim(0, 1)
    axes.set_xlabel("Level of the credible region")
    axes.set_ylabel("Coverage − level")
    note(
        axes,
        "\n".join(
            f"{text} % regions: {100 * float(d[key]):.1f} %  (p = {probability(result.quantity(name).p_value)})"
            for text, key, name in (("68", "at_68", "coverage_68"), ("95", "at_95", "coverage_95"))
        ),
    )


def _tarp(axes: Axes, result: MetricResult) -> None:
    d = result.details["tarp"]
    alpha, curve, band = (numbers(d[key]) for key in ("alpha", "difference", "band"))
    _banded(axes, np.r_[0.0, alpha, 1.0], np.r_[0.0, curve, 0.0], np.r_[0.0, band, 0.0])
    axes.set_xlabel("Credibility level α")
    axes.set_ylabel("Expected coverage − α")
    largest, shrunk = result.quantity("tarp"), result.quantity("contraction")
    note(
        axes,
        f"max |ECP − α| = {measured(largest.value, largest.error)}  (p = {probability(largest.p_value)})\n"
        f"contraction = {measured(shrunk.value, shrunk.error)}",
    )


def _banded(axes: Axes, at: FloatArray, curve: FloatArray, band: FloatArray) -> None:
    axes.fill_between(at, -band, band, color=BAND, alpha=0.25, lw=0, label="calibrated, 95 %")
    axes.axhline(0.0, color=REFERENCE, lw=0.9)
    axes.plot(at, curve, color=GENERATED, lw=1.8)
    limit = 1.7 * max(float(np.max(np.abs(curve))), float(np.max(band)), 1e-6)
    axes.set_ylim(-limit, limit)
    axes.set_xlim(0, 1)
    axes.legend(loc="upper right")
