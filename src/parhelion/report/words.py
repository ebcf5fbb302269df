"""Outcomes in plain words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

_MEANING: Final = {
    ("classifier", "auc"): "How well the strongest classifier tells generated from reference rows; 0.5: not at all",
    ("auc_map", "mean"): "Mean over bins of the change of the separation of two species",
    ("auc_map", "max"): "Largest change of the separation of two species in any bin",
    ("auc_map", "chi2_ndf"): "Changes of the separation of two species, in units of their errors",
    ("auc_map", "max_pull"): "Largest change of the separation of two species in any bin, in standard errors",
    ("efficiency", "max"): "Largest change of the share that passes the cut, in any bin",
    ("efficiency", "mean"): "Mean over bins of the change of the share that passes the cut",
    ("efficiency", "chi2_ndf"): "Changes of the share that passes the cut, in units of their errors",
    ("efficiency", "max_pull"): "Largest change of the share that passes the cut, in standard errors",
    ("histograms", "chi2_ndf"): "Agreement of the binned shapes; about 1 if they are the same",
    ("histograms", "separation"): "Separation power of the binned shapes; 0 if equal, 1 if they do not overlap",
    ("histograms", "w1"): "How far the distribution has moved on average (Wasserstein distance)",
    ("histograms", "w1_scaled"): "How far the distribution has moved on average, in its own standard deviations",
    ("histograms", "ks"): "Largest distance of the cumulative distributions (Kolmogorov-Smirnov)",
    ("histograms", "energy"): "Energy distance of the distributions",
    ("differential", "chi2_ndf"): "Agreement of the shapes in all bins of the condition; about 1 if they are the same",
    ("differential", "worst"): "How improbable the worst bin of the condition is (-log10 of its adjusted p-value)",
    ("differential", "w1"): "How far the distribution has moved in bins of the condition, on average",
    ("differential", "ks"): "Largest distance of the cumulative distributions in any bin of the condition",
    ("usable_size", "usable"): "How many generated events an analysis may use before the surrogate biases it",
    ("usable_size", "bias_over_error"): "Bias of the parameter over its statistical error in the reference",
    ("usable_size", "bias"): "Bias of the parameter",
    ("ensemble", "chi2_ndf"): "Agreement of the shapes with the model's uncertainty counted in; about 1 if it is right",
    ("ensemble", "model_share"): "Share of the variance that is the model's",
    ("ensemble", "coverage"): "Share of bins in which the reference lies within one total standard error",
    ("sliced", "energy"): "Energy distance of the samples, averaged over directions",
    ("sliced", "w1"): "Wasserstein distance of the samples, averaged over directions",
    ("frechet", "fpd"): "Fréchet physics distance of the samples, from means and covariances of features",
    ("kernel_distance", "kpd"): "Kernel physics distance of the samples, from all moments of features up to the fourth",
    ("sigma", "sigma"): "Largest distance of the distributions in any class",
    ("sigma", "mean"): "Mean over classes of the distance of the distributions",
    ("sigma", "max_pull"): "Largest distance of the distributions in any class, in standard errors",
    ("tails", "chi2_ndf"): "Agreement of the shapes in the tail; about 1 if they are the same",
    ("tails", "ratio"): "How much more or less often rare values occur than in the reference (logarithm)",
    ("tails", "index"): "Change of the tail's index, which says how fast the tail falls",
    ("train_on_generated", "gap"): "What a task loses on real rows when it is learned from generated ones",
    ("train_on_generated", "reverse_gap"): "What a task learned from real rows loses on generated ones",
    ("prdc", "coverage"): "Share of reference rows that have a generated row nearby",
    ("prdc", "precision"): "Share of generated rows that lie where reference rows lie",
    ("prdc", "recall"): "Share of reference rows that lie where generated rows lie",
    ("prdc", "density"): "How densely generated rows lie where reference rows lie; 1 if as densely",
    ("memorisation", "copying"): "How often generated rows are copies of training rows, over the reference's rate",
    ("amplification", "inverse_factor"): "Training rows over the number of true rows that the surrogate is worth",
    ("memorisation", "copying_local"): "The same rate of copies, judged by the nearest two training rows",
    ("memorisation", "z_u"): "Distances to training rows against the reference's; negative means copying",
    ("memorisation", "c_t"): "Distances to training rows against the reference's, region by region; negative: copying",
    ("amplification", "mse"): "Mean squared deviation of the shares in cells of equal probability",
    ("classifier_weights", "spread"): "By how much the ratio of the densities varies over generated rows (log10)",
    ("classifier_weights", "closure"): "AUC that is left after reweighting; 0.5 if the weights explain all differences",
    ("classifier_weights", "ess_loss"): "Share of the effective size that reweighting to the reference would cost",
    ("classifier_weights", "tail_generated"): "Share of generated rows that the reference hardly has",
    ("classifier_weights", "tail_reference"): "Share of reference rows that the surrogate hardly makes",
    ("classifier_weights", "calibration"): "How far mean weights are from 1, where weights that mean what they say are",
    ("nplm", "t"): "Log-likelihood ratio of the samples that a kernel method learned; large if they differ anywhere",
    ("nplm", "z"): "The same in standard deviations from what samples that do not differ give",
    ("boundaries", "violating"): "Share of generated rows that break the law",
    ("boundaries", "largest"): "By how much the worst generated row breaks the law",
    ("boundaries", "bias"): "Change of the mean of the law's residual",
    ("boundaries", "width"): "Change of the spread of the law's residual",
    ("posterior", "rank_chi2_ndf"): "Uniformity of the ranks of true values among draws; about 1 if calibrated",
    ("posterior", "coverage_68"): "How far the 68 % intervals are from holding 68 % of true values",
    ("posterior", "coverage_95"): "How far the 95 % intervals are from holding 95 % of true values",
    ("posterior", "tarp"): "Largest deviation of the expected coverage from its level",
    ("structure", "differing"): "Share of rows whose exact equalities differ from the reference's",
    ("structure", "max_difference"): "Largest change of the share of any pattern of exact equalities",
    ("structure", "chi2_ndf"): "Agreement of the shares of the patterns of exact equalities",
    ("correlation", "max"): "Largest change of any correlation coefficient",
    ("correlation", "mean"): "Mean change of the correlation coefficients",
    ("correlation", "chi2_ndf"): "Changes of the correlation coefficients, in units of their errors",
    ("correlation", "max_pull"): "Largest change of any correlation coefficient, in standard errors",
    ("curves", "chi2_ndf"): "Agreement of the averages of the curve; about 1 if they are the same",
    ("curves", "separation"): "Separation power of the average curves; 0 if equal, 1 if they do not overlap",
    ("curves", "max_pull"): "Largest change of the average curve at any point, in standard errors",
    ("curves", "mean"): "Mean change of the average curve",
    ("curves", "max"): "Largest change of the average curve at any point",
    ("resolution", "chi2_ndf"): "Changes of the response in bins, in units of their errors",
    ("resolution", "max_pull"): "Largest change of the response in any bin, in standard errors",
    ("resolution", "mean"): "Mean over bins of the relative change of the response",
    ("resolution", "max"): "Largest relative change of the response in any bin",
}
_COMPATIBLE: Final = 2.0
PASS: Final = "pass"
FAIL: Final = "fail"
CANNOT_TELL: Final = "cannot tell"


def status_of(plain: Mapping[str, Any]) -> str:
    """Status of a verdict or an outcome in its plain form: ``pass``, ``fail`` or ``cannot tell``."""
    return str(plain.get("status") or (PASS if plain["passed"] else FAIL))


def subject(outcome: Mapping[str, Any]) -> str:
    """Say what the bound is on: a quantity, or every bin, of which the deciding one is named."""
    return str(outcome["quantity"] or f"every bin; {outcome.get('where') or 'none'} decides")


def headline(verdict: Mapping[str, Any] | None) -> str:
    """Say in a sentence or two how the study ended; `verdict` is the verdict's plain form."""
    if verdict is None or not verdict["outcomes"]:
        return "No requirements were set, so there is no verdict; the figures show the comparison."
    outcomes = verdict["outcomes"]
    count = len(outcomes)
    failed, open_ones = ([o for o in outcomes if status_of(o) == status] for status in (FAIL, CANNOT_TELL))
    if not failed and not open_ones:
        return "The one requirement is met." if count == 1 else f"All {count} requirements are met."
    sentences = []
    if failed:
        sentences.append(f"{_some(failed, count)} {'is' if len(failed) == 1 else 'are'} not met: {_names(failed)}.")
    if open_ones:
        sentences.append(f"{_some(open_ones, count)} cannot be decided with this sample: {_names(open_ones)}.")
        if needed := _needed(open_ones):
            sentences.append(needed)
    return " ".join(sentences)


def explain(outcome: Mapping[str, Any]) -> str:
    """What a requirement is about, and how the value stands to its null.

    Parameters
    ----------
    outcome
        Plain form of an outcome. A metric that is not known here is explained by the outcome's own sentence.
    """
    # A bound on every bin is one on the largest difference.
    meaning = _MEANING.get((outcome["metric"], outcome["quantity"] or "max"))
    if meaning is None:
        return str(outcome["sentence"])
    needed = _needed([outcome]) if status_of(outcome) == CANNOT_TELL else ""
    return " ".join(part for part in (f"{meaning}.", _against_null(outcome), needed) if part)


def _some(chosen: Sequence[Any], count: int) -> str:
    return f"{len(chosen)} of {count} requirement{'s' if count > 1 else ''}"


def _names(outcomes: Sequence[Mapping[str, Any]]) -> str:
    names = "; ".join(f"{o['metric']} ({subject(o)}) on {o['on']}" for o in outcomes[:3])
    return f"{names}; and {len(outcomes) - 3} more" if len(outcomes) > 3 else names


def _needed(outcomes: Sequence[Mapping[str, Any]]) -> str:
    events = [o.get("events_needed") for o in outcomes]
    known = [n for n in events if n is not None]
    if not known:
        return ""
    if len(events) == 1:
        return f"About {known[0]:,} test rows of that comparison would decide."
    which = "" if len(known) == len(events) else f" {len(known)} of them"
    return f"At most about {max(known):,} test rows of each comparison would decide{which}."


def _against_null(outcome: Mapping[str, Any]) -> str:
    value, null, spread = outcome["value"], outcome["null"], outcome["null_error"]
    if value is None:
        why = f": {outcome['reason']}" if outcome.get("reason") else ""
        return f"It could not be computed{', which counts as a failure' if status_of(outcome) == FAIL else ''}{why}."
    if null is None or not spread:
        return ""
    distance = (value - null) / spread
    if abs(distance) < _COMPATIBLE:
        text = "As for reference against reference"
    else:
        sigma = f"{abs(distance):.1f}" if abs(distance) < 10 else f"{abs(distance):.0f}"
        text = f"{sigma} standard deviations {'above' if distance > 0 else 'below'} reference against reference"
    low = -math.inf if outcome["min"] is None else outcome["min"]
    high = math.inf if outcome["max"] is None else outcome["max"]
    if status_of(outcome) == FAIL and not low <= null <= high:
        text += "; the null itself is out of bounds, so a larger test sample is needed to meet the requirement"
    return f"{text}."
