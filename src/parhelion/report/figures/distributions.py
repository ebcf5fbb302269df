"""Weighted one-dimensional distributions with panels for ratio and pull."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from parhelion.evaluation.results.result import MetricResult
from parhelion.report.figures.arrays import FloatArray, numbers
from parhelion.report.figures.drawing import draw_pull, panel_stacks, points
from parhelion.report.style import GENERATED, LABEL, NULL, REFERENCE, note, pretty, style, with_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    BoolArray = npt.NDArray[np.bool_]

# A bin this narrow against the whole range holds one value: its density would dwarf the curve.
_ATOM_WIDTH: Final = 1e-5
_LEAST_ATOM: Final = 0.1  # percent; a narrow bin with less holds chance neighbours, not an atom
_LOG_SPAN: Final = 60.0


def distribution_figure(results: Sequence[MetricResult], *, label: str = LABEL) -> Figure:
    """One field's distribution, with ratio and pull below, for each result (all rows, then each category).

    Bins of equal width show the share of the weight in each bin, other bins the density. The y axis is logarithmic
    where tails matter (contents that span a factor of 60 or more). Bins of a single value (atoms) are written in the
    panel, since they have no density.

    Parameters
    ----------
    results
        Results of the metric ``histograms`` for one field.
    label
        Text above the figure.
    """
    with style():
        figure, stacks = panel_stacks(len(results), (2.8, 0.9, 0.8), str(results[0].details["field"]), label)
        for index, (result, axes) in enumerate(zip(results, stacks, strict=True)):
            _panel(axes, result, legend=index == 0)
    return figure


def has_equal_bins(edges: FloatArray) -> bool:
    """Whether all bins are equally wide, so that their contents need no division by the width."""
    widths = np.diff(edges)
    return bool(np.allclose(widths, widths[0], rtol=1e-3))


def _panel(stack: Sequence[Axes], result: MetricResult, *, legend: bool) -> None:
    upper, middle, lower = stack
    details = result.details
    edges = numbers(details["edges"])
    widths = np.diff(edges)
    atoms = widths < _ATOM_WIDTH * (edges[-1] - edges[0])
    equal = has_equal_bins(edges)
    scale = np.ones_like(widths) if equal else 1.0 / np.where(atoms, 1.0, widths)
    scale[atoms] = np.nan
    unit = str(details["unit"])
    lines = _lines(result, edges, atoms)

    reference, generated = (
        (numbers(details[side]["share"]) * scale, numbers(details[side]["error"]) * scale)
        for side in ("reference", "generated")
    )
    _draw_contents(upper, edges, reference, generated, room=0.08 + 0.07 * max(len(lines), 2))
    if equal:
        upper.set_ylabel(pretty(f"Share / ({widths[0]:.3g}{' ' + unit if unit else ''})"))
    else:
        upper.set_ylabel(with_unit("Density", f"1/{unit}" if unit else ""))
    upper.set_title(pretty(str(details["category"] or "all")), loc="right", fontsize=13)
    note(upper, "\n".join(lines), size=10.5)
    if legend:
        upper.legend(loc="upper right", fontsize=10.5, borderaxespad=0.3)

    _draw_ratio(middle, edges, np.where(atoms, np.nan, numbers(details["ratio"])), numbers(details["ratio_error"]))
    middle.set_ylabel("Gen. / ref.", loc="center", fontsize=11)
    draw_pull(lower, edges, np.where(atoms, np.nan, numbers(details["pull"])))
    lower.set_ylabel("Pull", loc="center", fontsize=11)
    lower.set_xlabel(with_unit(str(details["field"]), unit))
    lower.set_xlim(edges[0], edges[-1])


def _draw_contents(
    axes: Axes,
    edges: FloatArray,
    reference: tuple[FloatArray, FloatArray],
    generated: tuple[FloatArray, FloatArray],
    *,
    room: float,
) -> None:
    """Draw contents with errors, and keep the upper `room` of the axes free for text."""
    both = np.concatenate([reference[0], generated[0]])
    both = both[np.isfinite(both)]
    low, high = float(both.min(initial=0.0)), float(both.max(initial=0.0))
    high = high if high > 0 else 1.0
    smallest = float(both[both > 0].min(initial=high))
    logarithmic = high / smallest > _LOG_SPAN
    floor = 0.4 * smallest if logarithmic else 1.15 * low
    if logarithmic:
        axes.set_yscale("log")
        axes.set_ylim(floor, floor * (high / floor) ** (1 / (1 - room)))
    else:
        axes.set_ylim(floor, floor + (high - floor) / (1 - room))
        axes.axhline(0.0, color=NULL, lw=0.8)

    baseline = floor if logarithmic else 0.0
    filled = np.maximum(generated[0], floor)
    axes.stairs(np.nan_to_num(filled, nan=baseline), edges, baseline=baseline, fill=True, color=GENERATED, alpha=0.22)
    axes.stairs(filled, edges, baseline=None, color=GENERATED, lw=1.5, label="generated")
    _error_boxes(axes, edges, *generated, floor)
    centres = 0.5 * (edges[1:] + edges[:-1])
    values, errors = reference
    visible = np.where(values > floor, values, np.nan) if logarithmic else values
    points(axes, centres, visible, errors, color=REFERENCE, zorder=4, label="reference")
    if logarithmic:
        for (values, errors), colour in ((reference, REFERENCE), (generated, GENERATED)):
            lost = (values <= 0) & (errors > 0)
            axes.plot(centres[lost], np.full(int(lost.sum()), 1.4 * floor), "v", ms=4.5, mfc="none", mec=colour)


def _error_boxes(axes: Axes, edges: FloatArray, values: FloatArray, errors: FloatArray, floor: float) -> None:
    """Shade the generated sample's own statistical error, which matters where it is small."""
    seen = np.isfinite(values) & (errors > 0)
    low, high = np.where(seen, values - errors, np.nan), np.where(seen, values + errors, np.nan)
    low, high = np.maximum(low, floor), np.maximum(high, floor)
    axes.stairs(high, edges, baseline=low, fill=True, color=GENERATED, alpha=0.45)


def _draw_ratio(axes: Axes, edges: FloatArray, ratio: FloatArray, error: FloatArray) -> None:
    centres = 0.5 * (edges[1:] + edges[:-1])
    seen = np.isfinite(ratio)
    error = np.where(np.isfinite(error), error, 0.0)
    axes.axhline(1.0, color=REFERENCE, lw=0.9)
    span = 0.1
    if seen.any():
        # The well measured bins set the scale; noisy tails become arrows at the edge.
        reach = np.abs(ratio[seen] - 1.0) + error[seen]
        span = float(np.clip(1.15 * np.quantile(reach, 0.85), 0.05, 0.95))
    inside = seen & (np.abs(ratio - 1.0) < span)
    shown = np.where(inside, ratio, np.nan)
    points(axes, centres, shown, error, 0.5 * np.diff(edges), color=GENERATED, ms=2.8)
    for outside, marker, at in ((ratio >= 1.0 + span, "^", 0.93), (ratio <= 1.0 - span, "v", 0.07)):
        where = seen & outside
        axes.plot(
            centres[where],
            np.full(int(where.sum()), at),
            marker,
            ms=4.5,
            color=GENERATED,
            transform=axes.get_xaxis_transform(),
        )
    axes.set_ylim(1.0 - span, 1.0 + span)
    axes.locator_params(axis="y", nbins=4)


def _lines(result: MetricResult, edges: FloatArray, atoms: BoolArray) -> list[str]:
    details = result.details
    lines = []
    if details["ndf"]:
        quantity = result.quantities["chi2_ndf"]
        probability = "" if quantity.p_value is None else f", p = {quantity.p_value:.2g}"
        lines.append(f"χ²/ndf = {float(details['chi2']):.1f}/{int(details['ndf'])}{probability}")
    shares = {side: numbers(details[side]["share"]) for side in ("reference", "generated")}
    for index in np.flatnonzero(atoms):
        ours, theirs = (100 * share[index] for share in shares.values())
        if max(ours, theirs) < _LEAST_ATOM:
            continue
        lines.append(f"exactly {edges[index]:.4g}: ref. {ours:.2f} %, gen. {theirs:.2f} %")
    ours, theirs = (100 * (details[s]["underflow"] + details[s]["overflow"]) for s in shares)
    if max(abs(ours), abs(theirs)) > 5e-3:
        lines.append(f"outside: ref. {ours:.2f} %, gen. {theirs:.2f} %")
    return lines
