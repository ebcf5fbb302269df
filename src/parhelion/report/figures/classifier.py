"""The classifier two-sample test: scores, ROC curve, folds against the null, and what the classifier looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from parhelion.evaluation.result import MetricResult
from parhelion.report.figures.arrays import measured, numbers
from parhelion.report.figures.drawing import points
from parhelion.report.style import GENERATED, LABEL, NULL, REFERENCE, new_figure, note, plain_text, pretty, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHOWN_FEATURES: Final = 12


def classifier_figure(result: MetricResult, *, bound: float | None = None, label: str = LABEL) -> Figure:
    """Scores, distance of the ROC curve from the diagonal, AUC of the folds with the null, and importances.

    Parameters
    ----------
    result
        Result of the metric ``classifier``.
    bound
        Largest AUC that a requirement allows.
    label
        Text above the figure.
    """
    with style():
        figure = new_figure(14.0, 8.2, result.on, label)
        axes = figure.subplots(2, 2)
        _scores(axes[0, 0], result)
        _roc(axes[0, 1], result)
        _folds(axes[1, 0], result, bound)
        _importance(axes[1, 1], result)
    return figure


def _scores(axes: Axes, result: MetricResult) -> None:
    scores = result.details["scores"]
    edges = numbers(scores["edges"])
    generated, reference = numbers(scores["generated"]), numbers(scores["reference"])
    axes.stairs(np.nan_to_num(generated), edges, fill=True, color=GENERATED, alpha=0.22, lw=0)
    axes.stairs(generated, edges, baseline=None, color=GENERATED, lw=1.6, label="generated")
    error = numbers(scores["reference_error"])
    points(axes, 0.5 * (edges[1:] + edges[:-1]), reference, error, color=REFERENCE, label="reference")
    contents = np.nan_to_num(np.maximum(np.abs(generated), np.abs(reference)))
    occupied = np.flatnonzero(contents > 1e-4 * contents.max(initial=0.0))
    if occupied.size:
        axes.set_xlim(edges[occupied[0]], edges[occupied[-1] + 1])
    top = float(np.nanmax(np.concatenate([generated, reference, [0.0]])))
    axes.set_ylim(min(0.0, float(np.nanmin(np.concatenate([generated, reference, [0.0]])))), 1.3 * top or 1.0)
    axes.set_xlabel("Classifier score (high: taken for reference)")
    axes.set_ylabel("Share of weight per bin")
    axes.legend(loc="upper right")


def _roc(axes: Axes, result: MetricResult) -> None:
    roc = result.details["roc"]
    false, true = numbers(roc["false_positive"]), numbers(roc["true_positive"])
    axes.axhline(0.0, color=NULL, lw=1.2, ls="--", label="indistinguishable")
    axes.plot(false, true - false, color=GENERATED, label="measured")
    axes.set_xlim(0, 1)
    reach = float(np.nanmax(np.abs(true - false), initial=0.0))
    limit = max(1.3 * reach, 0.02)
    axes.set_ylim(-0.35 * limit, limit)
    axes.set_xlabel("Generated rows accepted (false positive rate)")
    axes.set_ylabel("True − false positive rate")
    note(axes, f"AUC = {measured(result.value, result.error)}\nnull = {measured(result.null, result.null_error)}")
    axes.legend(loc="upper right")


def _folds(axes: Axes, result: MetricResult, bound: float | None) -> None:
    d = result.details
    fold = numbers(d["fold_auc"])
    error = np.nan_to_num(numbers(d["fold_error"]))
    null = numbers(d.get("null_fold_auc") or [])
    at = np.arange(1, len(fold) + 1, dtype=float)
    axes.axhline(0.5, color=NULL, lw=1.0, ls=":")
    if np.isfinite(result.null) and np.isfinite(result.null_error):
        axes.axhspan(
            result.null - result.null_error,
            result.null + result.null_error,
            color=NULL,
            alpha=0.2,
            lw=0,
            label="null ± 1σ",
        )
    axes.errorbar(at - 0.08, fold, yerr=error, fmt="o", ms=5, color=GENERATED, label="generated against reference")
    if null.size:
        axes.plot(
            np.arange(1, len(null) + 1) + 0.08,
            null,
            "s",
            ms=5,
            mfc="white",
            mec=NULL,
            label="reference against reference",
        )
    if np.isfinite(result.value):
        axes.axhline(result.value, color=GENERATED, lw=1.2)
    if bound is not None:
        axes.axhline(bound, color=REFERENCE, lw=1.2, ls="--", label=f"largest allowed: {bound:g}")
    axes.set_xlim(0.5, max(len(fold), len(null)) + 0.5)
    axes.set_xticks(np.arange(1, max(len(fold), len(null)) + 1))
    axes.tick_params(axis="x", which="minor", bottom=False, top=False)
    everything = np.concatenate([fold - error, fold + error, null, [0.5, bound or 0.5]])
    low, high = float(np.nanmin(everything)), float(np.nanmax(everything))
    pad = max(0.15 * (high - low), 0.002)
    axes.set_ylim(low - pad, high + 5 * pad)
    axes.set_xlabel("Fold")
    axes.set_ylabel("AUC")
    axes.legend(loc="upper left", ncols=2, fontsize=10.5)


def _importance(axes: Axes, result: MetricResult) -> None:
    importance: dict[str, Any] = result.details.get("importance") or {}
    shown = [(name, drop) for name, drop in importance.items() if drop is not None][:_SHOWN_FEATURES]
    if not shown:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "importances were not computed", ha="center", va="center", transform=axes.transAxes)
        return
    names = [pretty(name) for name, _ in shown]
    axes.barh(np.arange(len(shown)), [float(drop) for _, drop in shown], color=GENERATED, alpha=0.75, height=0.7)
    axes.axvline(0.0, color=REFERENCE, lw=0.9)
    axes.set_yticks(np.arange(len(shown)), names)
    axes.invert_yaxis()
    axes.tick_params(axis="y", which="both", left=False, right=False)
    axes.locator_params(axis="x", nbins=6)
    axes.set_xlabel(plain_text("Drop of AUC when the feature is shuffled"))
