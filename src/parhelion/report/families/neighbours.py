"""Figures of what compares rows with their neighbours: copies of training rows, coverage, the learned log-ratio."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from parhelion.evaluation.results.result import MetricResult
from parhelion.report.content import ReportContent
from parhelion.report.entries import Entry, bound_of, events, least_of, named, sentence, slug
from parhelion.report.figures.arrays import measured, numbers
from parhelion.report.figures.drawing import points
from parhelion.report.style import ALARM, GENERATED, LABEL, NULL, REFERENCE, new_figure, note, pretty, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEMORISATION: Final = "Copies of training rows"
COVERAGE: Final = "Precision, recall, density and coverage"
LOG_RATIO: Final = "Learned log-likelihood ratio"

_SHOWN_FEATURES: Final = 12
_NAMES: Final = ("coverage", "precision", "recall", "density")


def entries(content: ReportContent) -> Iterator[Entry]:
    """Figures of the metrics ``memorisation``, ``prdc`` and ``nplm``."""
    yield from _memorisations(content)
    yield from _coverages(content)
    yield from _ratios(content)


def _memorisations(content: ReportContent) -> Iterator[Entry]:
    for result in named(content, "memorisation"):
        d = result.details
        caption = (
            f"{sentence(result)} Left: distance of each row to the nearest of {int(d['train_rows']):,} training rows; "
            "points are reference rows, which training has not seen, the filled line is generated. Copies stand left "
            "of the dashed line in excess of the points. Middle: the same distance over that to the second nearest "
            "training row; copies are near 0. Right: z of the distances in regions of the training sample; below -3, "
            f"generated rows of that region are too near to training rows. {events(result)}"
        )
        figure = memorisation_figure(result, label=content.label)
        yield Entry(MEMORISATION, slug("memorisation", result.on), caption, figure, _copies(result))


def _coverages(content: ReportContent) -> Iterator[Entry]:
    for result in named(content, "prdc"):
        d = result.details
        caption = (
            f"{sentence(result)} Left: the four numbers with their errors, and where samples that do not differ lie "
            "(grey, one standard deviation). Middle: coverage against the size of the balls, and its expectation for "
            "independent samples of one distribution (a little more where both share their conditions). "
            "Right: where the reference's uncovered rows and the generated rows outside all balls lie, relative to "
            f"the mean. {_used(d)} {events(result)}"
        )
        figure = prdc_figure(result, bound=least_of(content, result, "coverage"), label=content.label)
        yield Entry(COVERAGE, slug("prdc", result.on), caption, figure)


def _ratios(content: ReportContent) -> Iterator[Entry]:
    for result in named(content, "nplm"):
        d = result.details
        share = 100 * float(d["excess"]["share"])
        caption = (
            f"{sentence(result)} Left: t, and the same fit where labels are exchanged (grey) with the fitted χ². "
            "Middle: the learned log-ratio f of generated to reference density on the rows of both; high f: too many "
            f"generated rows. Right: what is special about the {share:.2g} % of rows of highest f (excess, "
            f"{int(d['excess']['generated']):,} generated and {int(d['excess']['reference']):,} reference rows) and "
            f"of lowest f (deficit, {int(d['deficit']['generated']):,} and {int(d['deficit']['reference']):,}). "
            f"{_used(d)} {events(result)}"
        )
        figure = nplm_figure(result, bound=bound_of(content, result, "t"), label=content.label)
        yield Entry(LOG_RATIO, slug("nplm", result.on), caption, figure)


def memorisation_figure(result: MetricResult, *, label: str = LABEL) -> Figure:
    """Distances to training rows, their ratios, and z by region, of a result of ``memorisation``."""
    d = result.details
    with style():
        figure = new_figure(14.4, 4.9, f"memorisation, {result.on}", label)
        left, middle, right = figure.subplots(1, 3)
        _compared(left, d["histogram"])
        left.axvline(np.log10(float(d["threshold"])), color=ALARM, ls="--", lw=1.2)
        left.set_xlabel("log10 of the distance to training [σ]")
        left.set_ylabel("Share of weight per bin")
        copying = result.quantity("copying")
        note(
            left,
            f"copying = {measured(copying.value, copying.error)}\nnull = {measured(copying.null, copying.null_error)}",
        )
        _compared(middle, d["ratio_histogram"])
        middle.set_xlabel("Nearest over second nearest distance")
        local = result.quantity("copying_local")
        middle.legend(
            loc="upper left",
            title=f"copying_local = {measured(local.value, local.error)}",
            title_fontsize=11.5,
            alignment="left",
        )
        _regions(right, d["cells"], result)
    return figure


def prdc_figure(result: MetricResult, *, bound: float | None = None, label: str = LABEL) -> Figure:
    """Four numbers with nulls, coverage against k, and where rows are missed, of a result of ``prdc``.

    Parameters
    ----------
    result
        Result of the metric ``prdc``.
    bound
        Bound that a requirement puts on the coverage.
    label
        Text above the figure.
    """
    d = result.details
    with style():
        figure = new_figure(14.4, 4.9, f"neighbourhoods, {result.on}", label)
        left, middle, right = figure.subplots(1, 3, width_ratios=(1.0, 1.0, 1.25))
        _four_numbers(left, result, bound)
        curve = d["curve"]
        k = numbers(curve["k"])
        middle.plot(k, numbers(curve["expected"]), color=NULL, ls="--", label="independent, no difference")
        points(middle, k, numbers(curve["coverage"]), numbers(curve["error"]), color=GENERATED, ms=5, label="measured")
        middle.axvline(int(d["neighbours"]), color=NULL, lw=0.8, ls=":")
        middle.set_xlabel("Neighbours k")
        middle.set_ylabel("Coverage")
        middle.set_ylim(top=1.05)
        middle.legend(loc="lower right")
        parts = {
            f"not covered ({100 * float(d['uncovered']['share']):.2g} %)": (d["uncovered"], REFERENCE),
            f"outside ({100 * float(d['outside']['share']):.2g} %)": (d["outside"], GENERATED),
        }
        _shifts(right, parts)
    return figure


def nplm_figure(result: MetricResult, *, bound: float | None = None, label: str = LABEL) -> Figure:
    """The statistic with its toys, the log-ratio, and what it blames, of a result of ``nplm``.

    Parameters
    ----------
    result
        Result of the metric ``nplm``.
    bound
        Bound that a requirement puts on t.
    label
        Text above the figure.
    """
    d = result.details
    with style():
        figure = new_figure(14.4, 4.9, f"learned log-ratio, {result.on}", label)
        left, middle, right = figure.subplots(1, 3, width_ratios=(1.0, 1.0, 1.25))
        _toys(left, result, bound)
        _compared(middle, d["ratio"], logarithmic=True)
        middle.set_xlabel("log-ratio f (generated / reference)")
        middle.set_ylabel("Share of rows per bin")
        middle.legend(loc="upper right")
        _shifts(right, {"excess (high f)": (d["excess"], ALARM), "deficit (low f)": (d["deficit"], GENERATED)})
    return figure


def _compared(axes: Axes, histogram: dict[str, Any], *, logarithmic: bool = False) -> None:
    """Histogram of both samples."""
    edges = numbers(histogram["edges"])
    generated, reference = numbers(histogram["generated"]), numbers(histogram["reference"])
    if logarithmic:
        axes.set_yscale("log")
        generated, reference = (np.where(h > 0, h, np.nan) for h in (generated, reference))
    axes.stairs(np.nan_to_num(generated), edges, fill=True, color=GENERATED, alpha=0.22, lw=0)
    axes.stairs(generated, edges, baseline=None, color=GENERATED, label="generated")
    error = numbers(histogram["reference_error"])
    points(axes, 0.5 * (edges[1:] + edges[:-1]), reference, error, color=REFERENCE, label="reference")
    axes.set_xlim(edges[0], edges[-1])
    top = float(np.nanmax(np.concatenate([generated, reference])))
    if logarithmic:
        low = float(np.nanmin(np.concatenate([generated, reference])))
        axes.set_ylim(0.3 * low, 4 * top)
    else:
        axes.set_ylim(min(0.0, float(np.nanmin(np.concatenate([generated, reference])))), 1.35 * top)


def _regions(axes: Axes, cells: dict[str, Any], result: MetricResult) -> None:
    z = np.sort(numbers(cells["z"]))
    axes.axhspan(-1.0, 1.0, color=NULL, alpha=0.2, lw=0)
    axes.axhline(0.0, color=NULL, lw=0.9)
    axes.axhline(-3.0, color=ALARM, lw=1.2, ls="--")
    at = np.arange(1, len(z) + 1, dtype=float)
    points(axes, at, z, np.ones(len(z)), color=GENERATED, ms=5)
    reach = max(4.5, 1.2 * float(np.max(np.abs(z), initial=0.0)) + 1.0)
    axes.set_ylim(-reach, reach)
    axes.set_xlim(0.3, len(z) + 0.7)
    axes.locator_params(axis="x", integer=True)
    axes.tick_params(axis="x", which="minor", bottom=False, top=False)
    axes.set_xlabel("Region, from lowest z")
    axes.set_ylabel("z (negative: too near to training)")
    whole, mean = result.quantity("z_u"), result.quantity("c_t")
    note(axes, f"z_u = {measured(whole.value, whole.error)}\nc_t = {measured(mean.value, mean.error)}")


def _four_numbers(axes: Axes, result: MetricResult, bound: float | None) -> None:
    for at, name in enumerate(_NAMES):
        found = result.quantity(name)
        low = found.null - found.null_error
        axes.fill_between([at - 0.3, at + 0.3], low, low + 2 * found.null_error, color=NULL, alpha=0.3, lw=0)
        axes.plot([at - 0.3, at + 0.3], [found.null] * 2, color=NULL, lw=1.2)
        points(axes, numbers([at]), numbers([found.value]), numbers([found.error]), color=GENERATED, ms=6)
    if bound is not None:
        axes.plot([-0.4, 0.4], [bound] * 2, color=ALARM, lw=1.2, ls="--")
    axes.set_xlim(-0.5, len(_NAMES) - 0.5)
    axes.set_xticks(range(len(_NAMES)), _NAMES)
    axes.tick_params(axis="x", which="both", bottom=False, top=False)
    axes.set_ylabel("Value (grey: null ± 1σ)")
    axes.margins(y=0.15)


def _toys(axes: Axes, result: MetricResult, bound: float | None) -> None:
    from scipy.stats import gamma

    d = result.details
    toys = numbers(d["toys"])
    axes.hist(toys, bins=max(8, len(toys) // 5), density=True, color=NULL, alpha=0.45, label="labels exchanged")
    if d["ndf"] > 0:
        low, high = float(np.min(toys)), float(np.max(toys))
        t = np.linspace(low - 0.3 * (high - low), high + 0.3 * (high - low), 200)
        density = gamma.pdf(t, float(d["ndf"]) / 2, scale=2 * float(d["scale"]))
        axes.plot(t, density, color=REFERENCE, lw=1.2, label=f"scaled χ², ndf {float(d['ndf']):.0f}")
    axes.axvline(result.value, color=GENERATED, lw=2.0, label="measured")
    if bound is not None:
        axes.axvline(bound, color=ALARM, lw=1.2, ls="--", label=f"largest allowed: {bound:g}")
    axes.set_ylim(0, 1.65 * axes.get_ylim()[1])
    axes.set_xlabel("t")
    axes.set_ylabel("Density of toys")
    z = result.quantity("z")
    note(axes, f"t = {measured(result.value, result.error)}, z = {z.value:.1f}")
    axes.legend(loc="upper center", fontsize=10.5, bbox_to_anchor=(0.55, 0.9))


def _shifts(axes: Axes, parts: dict[str, tuple[dict[str, Any], str]]) -> None:
    """Mean features of some rows relative to all, one line a feature, largest first."""
    first = next(iter(parts.values()))[0]["shift"]
    size = {
        name: max(abs(float(part["shift"][name] or 0.0)) for part, _ in parts.values())
        for name in first
        if any(part["shift"][name] is not None for part, _ in parts.values())
    }
    shown = sorted(size, key=lambda name: -size[name])[:_SHOWN_FEATURES]
    if not shown:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "too few such rows", ha="center", va="center", transform=axes.transAxes)
        return
    axes.axvline(0.0, color=NULL, lw=0.9)
    offsets = np.linspace(-0.14, 0.14, len(parts))
    for offset, (name, (part, colour)) in zip(offsets, parts.items(), strict=True):
        value = numbers([part["shift"][f] for f in shown])
        error = np.nan_to_num(numbers([part["error"][f] for f in shown]))
        at = np.arange(len(shown)) + offset
        axes.errorbar(value, at, xerr=error, fmt="o", ms=4.5, lw=1.0, color=colour, label=name)
    axes.set_yticks(np.arange(len(shown)), [pretty(f) for f in shown])
    axes.set_ylim(len(shown) - 0.4, -1.6)
    axes.tick_params(axis="y", which="both", left=False, right=False)
    axes.set_xlabel("Mean of these rows minus mean of all [σ]")
    axes.legend(loc="upper center", ncols=2, fontsize=10.5)


def _copies(result: MetricResult) -> list[tuple[str, ...]]:
    words = {
        "copying": "near training rows, over reference",
        "copying_local": "the same by ratio of distances",
        "z_u": "z of all distances",
        "c_t": "mean z of regions",
    }
    table: list[tuple[str, ...]] = [("Quantity", "Value", "Null", "p-value")]
    for name, text in words.items():
        q = result.quantity(name)
        p = "–" if q.p_value is None else f"{q.p_value:.2g}"
        table.append((f"{name}: {text}", measured(q.value, q.error), measured(q.null, q.null_error), p))
    return table


def _used(details: Any) -> str:
    thinned = ", thinned to equal weights" if details["thinned"] else ""
    return f"{int(details['used']):,} rows of each sample{thinned}."
