"""Outcomes in plain words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

_MEANING: Final = {
    ("classifier", "auc"): "How well boosted trees tell generated from reference rows; 0.5 means not at all",
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
    ("structure", "differing"): "Share of rows whose exact equalities differ from the reference's",
    ("structure", "max_difference"): "Largest change of the share of any pattern of exact equalities",
    ("structure", "chi2_ndf"): "Agreement of the shares of the patterns of exact equalities",
    ("correlation", "max"): "Largest change of any correlation coefficient",
    ("correlation", "mean"): "Mean change of the correlation coefficients",
    ("correlation", "chi2_ndf"): "Changes of the correlation coefficients, in units of their errors",
    ("correlation", "max_pull"): "Largest change of any correlation coefficient, in standard errors",
}
_COMPATIBLE: Final = 2.0


def headline(verdict: Mapping[str, Any] | None) -> str:
    """One sentence that says how the study ended; `verdict` is the verdict's plain form."""
    if verdict is None or not verdict["outcomes"]:
        return "No requirements were set, so there is no verdict; the figures below show the comparison."
    outcomes = verdict["outcomes"]
    failed = [o for o in outcomes if not o["passed"]]
    count = len(outcomes)
    if not failed:
        return "The one requirement is met." if count == 1 else f"All {count} requirements are met."
    names = "; ".join(f"{o['metric']} ({o['quantity']}) on {o['on']}" for o in failed[:3])
    more = f"; and {len(failed) - 3} more" if len(failed) > 3 else ""
    verb = "is" if len(failed) == 1 else "are"
    return f"{len(failed)} of {count} requirement{'s' if count > 1 else ''} {verb} not met: {names}{more}."


def explain(outcome: Mapping[str, Any]) -> str:
    """What a requirement is about, and how the value stands to its null.

    Parameters
    ----------
    outcome
        Plain form of an outcome. A metric that is not known here is explained by the outcome's own sentence.
    """
    meaning = _MEANING.get((outcome["metric"], outcome["quantity"]))
    if meaning is None:
        return str(outcome["sentence"])
    return f"{meaning}. {_against_null(outcome)}".strip()


def _against_null(outcome: Mapping[str, Any]) -> str:
    value, null, spread = outcome["value"], outcome["null"], outcome["null_error"]
    if value is None:
        return "It could not be computed, which counts as a failure."
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
    if not outcome["passed"] and not low <= null <= high:
        text += "; the null itself is out of bounds, so a larger test sample is needed to meet the requirement"
    return f"{text}."
