"""Efficiency and misidentification curves, with the allowed band in the difference panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from parhelion.evaluation.results.result import MetricResult
from parhelion.report.figures.arrays import FloatArray, numbers
from parhelion.report.figures.drawing import draw_pull, panel_stacks, points
from parhelion.report.style import BAND, GENERATED, LABEL, REFERENCE, note, pretty, style, with_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FAR: Final = 5.0


def efficiency_figure(
    results: Sequence[MetricResult], *, bounds: Mapping[str, float] | None = None, label: str = LABEL
) -> Figure:
    """Share of each species that passes one cut; below, generated minus reference, and that in standard errors.

    Parameters
    ----------
    results
        Results of the metric ``efficiency`` for one cut, one a species.
    bounds
        Largest |difference| that a requirement allows, by the result's `on`; drawn as a band.
    label
        Text above the figure.
    """
    first = results[0].details
    allowed = bounds or {}
    cut = f"{first['variable']} > {float(first['threshold']):g}"
    with style():
        figure, stacks = panel_stacks(len(results), (2.7, 1.1, 0.75), cut, label)
        for index, (result, (upper, middle, lower)) in enumerate(zip(results, stacks, strict=True)):
            _curve(upper, result, legend=index == 0)
            _difference(middle, result, allowed.get(result.on))
            _pull(lower, result)
            species = pretty(str(result.details["species"]))
            upper.set_title(species, loc="right", fontsize=13)
            upper.set_ylabel(f"P({species} → {pretty(cut)})", fontsize=12)
    return figure


def _curve(axes: Axes, result: MetricResult, *, legend: bool) -> None:
    d = result.details
    edges = numbers(d["edges"])
    centres, half = 0.5 * (edges[1:] + edges[:-1]), 0.5 * np.diff(edges)
    generated, generated_error = numbers(d["generated"]["efficiency"]), numbers(d["generated"]["error"])
    reference, reference_error = numbers(d["reference"]["efficiency"]), numbers(d["reference"]["error"])
    axes.stairs(generated, edges, baseline=None, color=GENERATED, lw=1.7, label="generated")
    axes.stairs(
        generated + generated_error,
        edges,
        baseline=generated - generated_error,
        fill=True,
        color=GENERATED,
        alpha=0.3,
        lw=0,
    )
    points(axes, centres, reference, reference_error, half, color=REFERENCE, label="reference")
    low, high = _range(np.concatenate([generated, reference]))
    # Room for text: an efficiency is flat near 1.
    axes.set_ylim(low, high + 0.28 * (high - low))
    axes.set_xlim(edges[0], edges[-1])
    lines = []
    chi2 = result.quantities.get("chi2_ndf")
    if chi2 is not None and np.isfinite(chi2.value):
        lines.append(f"χ²/ndf = {chi2.value:.2f} (null {chi2.null:.2f} ± {chi2.null_error:.2f})")
    if not np.isfinite(reference).any():
        lines.append("too few tracks in every bin")
    if lines:
        note(axes, "\n".join(lines), "upper left", size=10.5)
    if legend:
        axes.legend(loc="upper right", fontsize=10.5)


def _difference(axes: Axes, result: MetricResult, bound: float | None) -> None:
    d = result.details
    edges = numbers(d["edges"])
    difference, error = numbers(d["difference"]), _finite(numbers(d["difference_error"]))
    seen = np.isfinite(difference)
    if bound is not None:
        axes.axhspan(-bound, bound, color=BAND, alpha=0.18, lw=0)
        axes.text(
            0.985,
            0.04,
            f"allowed: ±{bound:g}",
            transform=axes.transAxes,
            ha="right",
            va="bottom",
            fontsize=9.5,
            color="#00694C",
        )
    axes.axhline(0.0, color=REFERENCE, lw=0.9)
    points(axes, 0.5 * (edges[1:] + edges[:-1]), difference, error, 0.5 * np.diff(edges), color=GENERATED, ms=3.0)
    reach = float(np.max(np.abs(difference[seen]) + error[seen], initial=0.0))
    # A bound far beyond all points would press them onto the line; the band then fills the panel.
    near = bound if bound is not None and bound <= _FAR * reach else 0.0
    limit = 1.25 * max(reach, 1.4 * near, 1e-4)
    axes.set_ylim(-limit, limit)
    axes.locator_params(axis="y", nbins=5, prune="both")
    axes.set_ylabel("Gen. − ref.", loc="center", fontsize=11.5)


def _pull(axes: Axes, result: MetricResult) -> None:
    d = result.details
    difference, error = numbers(d["difference"]), numbers(d["difference_error"])
    known = np.isfinite(difference) & (error > 0)
    draw_pull(axes, numbers(d["edges"]), np.where(known, difference / np.where(known, error, 1.0), np.nan))
    axes.set_ylabel("Pull", loc="center", fontsize=11.5)
    axes.set_xlabel(with_unit(str(d["x"]), str(d["x_unit"])))


def _finite(values: FloatArray) -> FloatArray:
    return np.where(np.isfinite(values), values, 0.0)


def _range(values: FloatArray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    pad = max(0.12 * (high - low), 0.005)
    return min(low - pad, 0.0) if low < 0.3 else low - pad, high + pad
