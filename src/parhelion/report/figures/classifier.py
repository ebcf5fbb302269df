"""The classifier two-sample test: scores, ROC curve, folds against the null, and what the classifier looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from parhelion.evaluation.results.result import MetricResult
from parhelion.report.figures.arrays import measured, numbers
from parhelion.report.figures.drawing import points
from parhelion.report.style import (
    GENERATED,
    LABEL,
    NULL,
    REFERENCE,
    SERIES,
    new_figure,
    note,
    plain_text,
    pretty,
    style,
)

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
    """AUC of each fold; of each learner where there are several."""
    d = result.details
    learners: dict[str, Any] = d.get("learners") or {}
    if len(learners) > 1:
        chosen = str(d["learner"])
        names = [chosen, *(name for name in learners if name != chosen)]
        drawn = [learners[name] for name in names]
        colours = [GENERATED, *(c for c in SERIES if c != GENERATED)]
        labels = [f"{name}, {measured(t['auc'], t['error'])}" for name, t in zip(names, drawn, strict=True)]
    else:
        drawn = [{key: d.get(key) or [] for key in ("fold_auc", "fold_error", "null_fold_auc")}]
        colours, labels = [GENERATED], ["generated against reference"]
    axes.axhline(0.5, color=NULL, lw=1.0, ls=":")
    if np.isfinite(result.null) and np.isfinite(result.null_error):
        low, high = result.null - result.null_error, result.null + result.null_error
        axes.axhspan(low, high, color=NULL, alpha=0.2, lw=0, label="null ± 1σ")
    everything = [np.array([0.5, bound or 0.5])]
    folds = 1
    for i, (test, colour, text) in enumerate(zip(drawn, colours, labels, strict=False)):
        fold = numbers(test["fold_auc"])
        error = np.nan_to_num(numbers(test["fold_error"]))
        null = numbers(test["null_fold_auc"] or [])
        shift = 0.16 * (i - 0.5 * (len(drawn) - 1))
        axes.errorbar(
            np.arange(1, len(fold) + 1) + shift - 0.03, fold, yerr=error, fmt="o", ms=5, color=colour, label=text
        )
        if null.size:
            last = i == len(drawn) - 1
            axes.plot(
                np.arange(1, len(null) + 1) + shift + 0.03,
                null,
                "s",
                ms=5,
                mfc="white",
                mec=NULL if len(drawn) == 1 else colour,
                label="reference against reference" if last else None,
            )
        everything += [fold - error, fold + error, null]
        folds = max(folds, len(fold), len(null))
    if np.isfinite(result.value):
        axes.axhline(result.value, color=GENERATED, lw=1.2)
    if bound is not None:
        axes.axhline(bound, color=REFERENCE, lw=1.2, ls="--", label=f"largest allowed: {bound:g}")
    axes.set_xlim(0.5, folds + 0.5)
    axes.set_xticks(np.arange(1, folds + 1))
    axes.tick_params(axis="x", which="minor", bottom=False, top=False)
    pooled = np.concatenate(everything)
    low, high = float(np.nanmin(pooled)), float(np.nanmax(pooled))
    pad = max(0.15 * (high - low), 0.002)
    axes.set_ylim(low - pad, high + (5 + len(drawn)) * pad)
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
    learner = result.details.get("learner")
    axes.set_xlabel(plain_text(f"Drop of AUC when the feature is shuffled{f' ({learner})' if learner else ''}"))
