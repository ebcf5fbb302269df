"""What a report's reader can look at closely: per-bin numbers, in a form that the page's script draws."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from parhelion.evaluation.results.result import MetricResult
from parhelion.report.entries import grouped
from parhelion.report.figures.arrays import numbers
from parhelion.report.figures.distributions import has_equal_bins
from parhelion.report.pages import page_of
from parhelion.report.style import greek

_DIGITS: Final = 6


def explorable(results: Sequence[MetricResult]) -> dict[str, list[dict[str, Any]]]:
    """Per-bin numbers of all results that have them.

    Parameters
    ----------
    results
        Results of metrics; those without per-bin numbers are passed over.

    Returns
    -------
    dict
        ``binned``: one-dimensional comparisons in bins of `x`. ``maps``: numbers in cells. Numbers are rounded to six
        digits; None is a number that does not exist.
    """
    found: dict[str, list[dict[str, Any]]] = {"binned": [], "maps": _differential(results)}
    for result in results:
        maker = _MAKERS.get(result.name)
        if maker is None or not result.details:
            continue
        kind, item = maker(result)
        found[kind].append({"page": page_of(result.name), **_short(item)})
    return found


def script_json(data: Any) -> str:
    """JSON that may stand inside a script element: no ``<`` can end it."""
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")


def _histogram(result: MetricResult) -> tuple[str, dict[str, Any]]:
    d = result.details
    equal = has_equal_bins(numbers(d["edges"]))
    sides = {side: d[side]["share"] for side in ("reference", "generated")}
    notes = [f"χ²/ndf = {float(d['chi2']):.1f}/{int(d['ndf'])}"] if d["ndf"] else []
    outside = [100 * (d[side]["underflow"] + d[side]["overflow"]) for side in sides]
    if max(map(abs, outside)) > 5e-3:
        notes.append(f"outside: ref. {outside[0]:.2f} %, gen. {outside[1]:.2f} %")
    return "binned", {
        "group": "Distributions",
        "what": d["field"],
        "part": greek(str(d["category"] or "all")),
        "x": _axis(d["field"], d["unit"]),
        "y": "Share" if equal else _axis("Density", f"1/{d['unit']}" if d["unit"] else ""),
        "unit": d["unit"],
        "density": not equal,
        "edges": d["edges"],
        **sides,
        **{f"{side}_error": d[side]["error"] for side in sides},
        **{key: d[key] for key in ("ratio", "ratio_error", "pull")},
        "notes": notes,
    }


def _efficiency(result: MetricResult) -> tuple[str, dict[str, Any]]:
    d = result.details
    cut = f"{d['variable']} > {float(d['threshold']):g}"
    species = greek(str(d["species"]))
    sides = {side: d[side]["efficiency"] for side in ("reference", "generated")}
    return "binned", {
        "group": "Efficiency and misidentification",
        "what": cut,
        "part": species,
        "x": _axis(d["x"], d["x_unit"]),
        "y": f"P({species} → {cut})",
        "unit": d["x_unit"],
        "density": False,
        "edges": d["edges"],
        **sides,
        **{f"{side}_error": d[side]["error"] for side in sides},
        **{key: d[key] for key in ("difference", "difference_error", "pull")},
        "notes": [],
    }


def _auc_map(result: MetricResult) -> tuple[str, dict[str, Any]]:
    d = result.details
    signal, background = greek(str(d["signal"])), greek(str(d["background"]))
    return "maps", {
        "group": "AUC-difference maps",
        "what": greek(result.on),
        "x": _axis(d["x"], d["x_unit"]),
        "y": _axis(d["y"], d["y_unit"]),
        "x_edges": d["x_edges"],
        "y_edges": d["y_edges"],
        "layers": [
            _layer("ΔAUC: generated − reference", d["difference"], d["error"], zero=True),
            _layer("pull: ΔAUC / standard error", d["pull"], zero=True),
            _layer("null: reference − reference", d["null_map"], zero=True),
            _layer("AUC of the reference", d["auc_reference"]),
            _layer("AUC of the generated sample", d["auc_generated"]),
            _layer(f"n({signal})", d["signal_tracks"]),
            _layer(f"n({background})", d["background_tracks"]),
        ],
    }


def _correlation(result: MetricResult) -> tuple[str, dict[str, Any]]:
    d = result.details
    names = [greek(str(f)) for f in d["fields"]]
    lower = np.tril(np.ones((len(names), len(names)), dtype=bool), k=-1)

    def half(values: Any) -> Any:
        return np.where(lower, numbers(values), np.nan).tolist()

    error = d.get("error")
    layers = [
        _layer("generated − reference", half(d["difference"]), None if error is None else half(error), zero=True),
        _layer("correlation in the reference", half(d["reference"]), zero=True),
        _layer("correlation in the generated sample", half(d["generated"]), zero=True),
    ]
    return "maps", {
        "group": "Correlations",
        "what": greek(result.on),
        "x": "",
        "y": "",
        "x_names": names,
        "y_names": names,
        "blank": True,
        "layers": layers,
    }


def _differential(results: Sequence[MetricResult]) -> list[dict[str, Any]]:
    """Maps of bins of a condition, a row each for all rows of the samples and for each category."""
    items = []
    known = [r for r in results if r.name == "differential" and r.details]
    # Categories may have joined bins differently; a map has rows with the same bins.
    for group in grouped(known, lambda r: (r.details["field"], r.details["x"], tuple(r.details["labels"]))):
        d = group[0].details
        layers = [
            _layer("−log₁₀ p", [[-np.log10(max(p, 1e-300)) for p in r.details["p"]] for r in group]),
            _layer("p-value, Holm", [r.details["p_holm"] for r in group]),
            _layer("Wasserstein distance", [r.details["w1"] for r in group]),
            _layer("its null", [r.details["w1_null"] for r in group], [r.details["w1_null_error"] for r in group]),
        ]
        for side in ("reference", "generated"):
            medians = [[low_mid_high[1] for low_mid_high in r.details[side]["quantiles"]] for r in group]
            layers.append(_layer(f"median, {side}", medians))
        item = {
            "group": "Distributions in bins of a condition",
            "what": greek(f"{d['field']} in bins of {d['x']}"),
            "x": _axis(d["x"], d["x_unit"]),
            "y": "",
            "row": "Category",
            "x_names": [greek(str(label)) for label in d["labels"]],
            "y_names": [greek(str(r.details["category"] or "all")) for r in group],
            "layers": layers,
        }
        items.append({"page": page_of("differential"), **_short(item)})
    return items


_MAKERS: Final = {
    "histograms": _histogram,
    "efficiency": _efficiency,
    "auc_map": _auc_map,
    "correlation": _correlation,
}


def _layer(title: str, values: Any, error: Any = None, *, zero: bool = False) -> dict[str, Any]:
    """One number a cell; `zero` centres its colours at 0."""
    return {"title": title, "values": values, "error": error, "zero": zero}


def _axis(name: object, unit: object) -> str:
    return greek(f"{name} [{unit}]" if unit else str(name))


def _short(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _short(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_short(v) for v in value]
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if np.isfinite(value) else None
    return value


def words_of(result: MetricResult) -> Iterator[str]:
    """Names of the observables that a result is about, as far as it says."""
    yield from result.fields
    for key in ("field", "variable"):
        name = result.details.get(key)
        if isinstance(name, str):
            yield name
