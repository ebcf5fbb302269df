"""Metric results with the layout of the metrics' details, from numpy toys."""

from __future__ import annotations

import numpy as np

from parhelion.evaluation import MetricResult, Quantity, Requirement, judge
from parhelion.report import ReportContent, SampleEntry, SurrogateEntry, Timing, TrainingEntry
from parhelion.training.tracking import Curve

FIELDS = ("RichDLLe", "RichDLLmu", "RichDLLk", "RichDLLp", "RichDLLbt")
SPECIES = ("e", "mu", "pi", "K", "p")
_COMMON = {
    "paired": True,
    "null_kind": "exchange",
    "rows": {"reference": 200_000, "generated": 200_000},
    "effective": {"reference": 151_234.5, "generated": 151_234.5},
}


def quantities(*names: str, value=1.1, error=0.15, null=1.0, null_error=0.14) -> dict[str, Quantity]:
    return {name: Quantity(value, error, null, null_error, 0.31) for name in names}


def histogram(field="RichDLLk", category=None, *, bins=50, atom=False, negative=False, seed=1) -> MetricResult:
    rng = np.random.default_rng(seed)
    edges = np.linspace(-60.0, 80.0, bins + 1)
    if atom:
        edges = np.sort(np.append(edges, [0.0, np.nextafter(0.0, 1.0)]))
    x = np.r_[rng.normal(-15, 10, 20_000), rng.normal(25, 14, 12_000)]
    y = np.r_[rng.normal(-15, 10.2, 20_000), rng.normal(25.1, 14, 12_000)]
    if atom:
        x[:4_000], y[:3_900] = 0.0, 0.0
    shares, errors = [], []
    for values in (x, y):
        weight = np.where(rng.random(len(values)) < 0.2, -1.0, 1.0) if negative else np.ones(len(values))
        content = np.histogram(values, edges, weights=weight)[0]
        shares.append(content / weight.sum())
        errors.append(np.sqrt(np.histogram(values, edges, weights=weight**2)[0]) / weight.sum())
    p, q = shares
    with np.errstate(all="ignore"):
        ratio, ratio_error = np.where(p > 0, q / p, np.nan), np.where(p > 0, errors[1] / p, np.nan)
        pull = (q - p) / np.hypot(*errors)
    sides = {
        side: {
            "share": share,
            "error": error,
            "underflow": 0.001,
            "underflow_error": 0.0001,
            "overflow": 0.0012,
            "overflow_error": 0.0001,
        }
        for side, share, error in zip(("reference", "generated"), shares, errors, strict=True)
    }
    return MetricResult(
        "histograms",
        field if category is None else f"{field}, Type = {category}",
        "chi2_ndf",
        quantities("chi2_ndf", "separation", "w1", "w1_scaled"),
        {
            **_COMMON,
            "field": field,
            "unit": "",
            "category": category,
            "edges": edges,
            **sides,
            "ratio": ratio,
            "ratio_error": ratio_error,
            "pull": pull,
            "chi2": 52.3,
            "ndf": 47,
            "merged_bins": 48,
            "caption": f"Distribution of {field}.",
        },
    )


def auc_map(pair=("K", "pi"), *, nx=6, ny=4, few=3, seed=2) -> MetricResult:
    rng = np.random.default_rng(seed)
    error = rng.uniform(0.001, 0.004, (ny, nx))
    difference, null = rng.normal(0, 1, (2, ny, nx)) * error
    signal, background = rng.uniform(700, 9000, (2, ny, nx))
    empty = np.arange(nx * ny).reshape(ny, nx) >= nx * ny - few
    signal[empty] = rng.uniform(3, 590, int(empty.sum()))
    for values in (difference, null, error):
        values[empty] = np.nan
    return MetricResult(
        "auc_map",
        f"{pair[0]}-{pair[1]}: RichDLLk",
        "mean",
        {
            "mean": Quantity(0.0018, 0.0004, 0.0016, 0.0003, 0.3),
            "max": Quantity(0.0061, 0.002, 0.0055, 0.001, 0.4),
            **quantities("chi2_ndf", "max_pull"),
        },
        {
            **_COMMON,
            "signal": pair[0],
            "background": pair[1],
            "variable": "RichDLLk",
            "x": "P",
            "y": "ETA",
            "x_unit": "GeV",
            "y_unit": "",
            "x_edges": np.geomspace(3, 100, nx + 1),
            "y_edges": np.linspace(2, 4.9, ny + 1),
            "auc_reference": 0.9 + difference * 0,
            "auc_generated": 0.9 + difference,
            "difference": difference,
            "error": error,
            "pull": difference / error,
            "null_map": null,
            "signal_tracks": signal,
            "background_tracks": background,
            "bins": int(nx * ny - few),
            "min_tracks": 600.0,
            "replicas": 200,
            "caption": f"AUC of RichDLLk for {pair[0]} against {pair[1]}, generated minus reference, in bins.",
        },
    )


def efficiency(species="K", *, threshold=0.0, bins=18, few=1, seed=3) -> MetricResult:
    rng = np.random.default_rng(seed)
    edges = np.r_[3.0, np.linspace(9.3, 100, bins)] if bins > 1 else np.array([3.0, 100.0])
    p = 0.5 * (edges[1:] + edges[:-1])
    true = 0.97 - 0.2 * (p / 100) ** 2 if species == "K" else 0.02 + 0.15 * (p / 100) ** 2
    error = np.sqrt(true * (1 - true) / 4000)
    reference = true + rng.normal(0, 1, bins) * error
    generated = reference + rng.normal(0, 0.5, bins) * error
    for values in (reference, generated, error):
        values[:few] = np.nan
    return MetricResult(
        "efficiency",
        f"RichDLLk > {threshold:g}, {species}",
        "max",
        quantities("max", "mean", "chi2_ndf", "max_pull"),
        {
            **_COMMON,
            "variable": "RichDLLk",
            "threshold": threshold,
            "species": species,
            "x": "P",
            "x_unit": "GeV",
            "edges": edges,
            "reference": {"efficiency": reference, "error": error},
            "generated": {"efficiency": generated, "error": error},
            "difference": generated - reference,
            "difference_error": 0.5 * error,
            "pull": (generated - reference) / (0.5 * error),
            "tracks": np.full(bins, 4000.0),
            "caption": f"Share of {species} with RichDLLk > {threshold:g}.",
        },
    )


def classifier(*, value=0.5031, seed=4) -> MetricResult:
    rng = np.random.default_rng(seed)
    edges = np.linspace(0, 1, 41)
    centres = 0.5 * (edges[1:] + edges[:-1])
    reference = np.exp(-0.5 * ((centres - 0.503) / 0.03) ** 2)
    generated = np.exp(-0.5 * ((centres - 0.498) / 0.03) ** 2)
    reference, generated = reference / reference.sum(), generated / generated.sum()
    false = np.linspace(0, 1, 101)
    return MetricResult(
        "classifier",
        "conditions and responses",
        "auc",
        {"auc": Quantity(value, 0.0013, 0.4998, 0.0013, 0.02)},
        {
            **_COMMON,
            "features": ["P", "ETA", "nTracks", "Type", "RichDLLk"],
            "folds": 5,
            "trees": 100,
            "fold_auc": value + rng.normal(0, 0.002, 5),
            "fold_error": np.full(5, 0.0028),
            "null_fold_auc": 0.4998 + rng.normal(0, 0.002, 5),
            "roc": {"false_positive": false, "true_positive": false + 0.02 * false * (1 - false)},
            "scores": {
                "edges": edges,
                "reference": reference,
                "generated": generated,
                "reference_error": np.sqrt(reference / 2e5),
                "generated_error": np.sqrt(generated / 2e5),
            },
            "signed_training": True,
            "importance": {"RichDLLk": 0.0031, "P": 0.0012, "ETA": 0.0004, "nTracks": 0.0001, "Type": -0.0002},
            "caption": "Boosted trees told reference from generated rows with AUC 0.5031.",
        },
    )


def structure() -> MetricResult:
    p = np.array([0.85, 0.08, 0.05, 0.02])
    difference = np.array([0.0004, -0.0003, 0.0001, -0.0002])
    return MetricResult(
        "structure",
        "exact equalities",
        "differing",
        quantities("differing", "max_difference", "chi2_ndf"),
        {
            **_COMMON,
            "patterns": ["none", "RichDLLp = RichDLLbt", "RichDLLk = RichDLLp = RichDLLbt", "all zero"],
            "reference": {"share": p, "error": np.full(4, 0.0006)},
            "generated": {"share": p + difference, "error": np.full(4, 0.0006)},
            "difference": difference,
            "difference_error": np.full(4, 0.0004),
            "smeared": 0.0012,
            "caption": "How often exact equalities occur.",
        },
    )


def correlation(fields=("P", "ETA", "nTracks", "RichDLLe", "RichDLLmu", "RichDLLk", "RichDLLp", "RichDLLbt")):
    rng = np.random.default_rng(5)
    k = len(fields)
    reference = np.corrcoef(rng.normal(size=(k, 2 * k)))
    difference = rng.normal(0, 0.002, (k, k))
    difference = difference + difference.T
    return MetricResult(
        "correlation",
        "conditions and responses",
        "max",
        {"max": Quantity(0.0061, 0.001, 0.005, 0.001, 0.2), **quantities("mean", "chi2_ndf")},
        {
            **_COMMON,
            "fields": list(fields),
            "reference": reference,
            "generated": reference + difference,
            "difference": difference,
            "error": np.full((k, k), 0.002),
            "caption": "Correlations of conditions and responses, generated minus reference.",
        },
    )


def curves(steps=3000) -> dict[str, Curve]:
    rng = np.random.default_rng(6)
    step = np.arange(1, steps + 1)
    rough = step[::250]
    return {
        "loss/network": Curve(step, 1.2 + np.exp(-step / 400) + 0.05 * rng.normal(size=steps)),
        "gradient/network": Curve(step, 0.5 + np.exp(-step / 400) + 0.05 * rng.normal(size=steps)),
        "learning_rate/network": Curve(step, 5e-4 * (1 + np.cos(np.pi * step / steps)) + 1e-6),
        "rate": Curve(step, np.full(steps, 3e5)),
        "elapsed": Curve(step, 0.05 * step),
        "validation": Curve(rough, 0.01 * np.exp(-rough / 900) + 0.0008),
        "validation_null": Curve(rough, np.full(len(rough), 0.0006)),
    }


def results(fields=("RichDLLk",), species=("K",), pairs=(("K", "pi"),), thresholds=(0.0,)) -> list[MetricResult]:
    return [
        *(histogram(f, c, seed=10 * i + j) for i, f in enumerate(fields) for j, c in enumerate((None, *species))),
        *(auc_map(pair, seed=i) for i, pair in enumerate(pairs)),
        *(efficiency(s, threshold=t) for t in thresholds for s in ("K", "pi")),
        classifier(),
        structure(),
        correlation(),
    ]


def verdict(found):
    return judge(
        found,
        [
            Requirement("classifier", max=0.507),
            Requirement("auc_map", max=0.002),
            Requirement("auc_map", quantity="max", max=0.005),
            Requirement("efficiency", quantity="max", max=1.2),
        ],
    )


def content(results) -> ReportContent:
    """Everything a study on the RICH would show."""
    return ReportContent(
        title="RICH: five DLLs from P, ETA and nTracks",
        description="Flow matching on a calibration sample with sWeights.",
        verdict=verdict(results),
        results=results,
        samples=[
            SampleEntry("training", "rich-calibration.root", 200_000, 118_000.0, 0.18, 1),
            SampleEntry("test", "rich-test.root", 200_000, 151_234.5, 0.0, 2),
        ],
        surrogate=SurrogateEntry(
            "matching",
            254_321,
            ["P [GeV]", "ETA", "nTracks"],
            ["RichDLLk", "RichDLLp"],
            {"width": 192, "ema": {"decay": 0.999}},
        ),
        training=TrainingEntry(188.3, 12_000, 7, "2 cores of an x86-64 CPU", 11_500, {"batch": 4096}),
        curves=curves(),
        timings=[Timing("simulation", 95.0, 200_000), Timing("training", 188.3), Timing("generation", 0.52, 200_000)],
        command="parhelion run rich --seed 7",
        versions={"parhelion": "0.1.0", "numpy": "2.4.6"},
        warnings=["12 rows lie outside the domain."],
    )
