"""Figures show the numbers they were given, survive empty and odd bins, and leave matplotlib's settings alone."""

from __future__ import annotations

from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
import report_toys as toys

from parhelion.report.figures import (
    auc_map_figure,
    classifier_figure,
    correlation_figure,
    distribution_figure,
    efficiency_figure,
    structure_figure,
    training_figure,
)
from parhelion.report.figures.arrays import measured
from parhelion.report.figures.sweights import sweight_figure
from parhelion.report.style import GENERATED, REFERENCE, render
from parhelion.splot import MassModel, fit_mass
from parhelion.splot.peaks import Gaussian
from parhelion.training.tracking import Curve


def changed(result, **details):
    return replace(result, details={**result.details, **details})


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_settings_and_pyplot_are_left_alone():
    import matplotlib.pyplot as plt

    before = dict(mpl.rcParams)
    render(structure_figure(toys.structure()), "png")
    assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == []


def test_same_figure_gives_same_bytes():
    first, second = (render(structure_figure(toys.structure()), "svg") for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    "result",
    [
        toys.histogram(atom=True),
        toys.histogram(negative=True),
        toys.histogram(bins=1),
        changed(toys.histogram(bins=3), ratio=[None] * 3, ratio_error=[None] * 3),
        changed(
            toys.histogram(bins=2),
            reference={"share": [0, 0], "error": [0, 0], "underflow": 1.0, "overflow": 0.0},
            generated={"share": [0, 0], "error": [0, 0], "underflow": 0.0, "overflow": 1.0},
            ndf=0,
        ),
        changed(
            toys.histogram(bins=2),
            reference={"share": [-0.1, 1.1], "error": [0.2, 0.2], "underflow": 0.0, "overflow": 0.0},
            generated={"share": [-0.05, 0.9], "error": [0, 0], "underflow": 0.1, "overflow": 0.05},
        ),
        changed(toys.histogram(), field="cost $x$ [_^"),
    ],
    ids=["atom", "negative weights", "one bin", "no ratio", "all outside", "negative bin", "dollar"],
)
def test_distributions_with_odd_bins(result):
    assert render(distribution_figure([result]), "png")


def test_distribution_draws_reference_as_points_and_generated_as_line():
    result = toys.histogram(bins=10)
    upper = distribution_figure([result]).axes[0]
    markers = next(line for line in upper.lines if line.get_label() == "reference")
    np.testing.assert_allclose(markers.get_ydata(), result.details["reference"]["share"])
    assert (markers.get_color(), markers.get_marker()) == (REFERENCE, "o")
    step = next(patch for patch in upper.patches if patch.get_label() == "generated")
    np.testing.assert_allclose(step.get_data().values, result.details["generated"]["share"])
    assert mpl.colors.to_hex(step.get_edgecolor()).upper() == GENERATED
    assert "χ²/ndf = 52.3/47, p = 0.31" in texts(upper)[0]


def test_atom_is_written_and_kept_out_of_the_density():
    upper = distribution_figure([toys.histogram(atom=True)]).axes[0]
    assert "exactly 0: ref. 12.50 %, gen. 12.19 %" in texts(upper)[0]
    step = next(patch for patch in upper.patches if patch.get_label() == "generated")
    assert np.nanmax(step.get_data().values) < 1.0


def test_axis_is_logarithmic_only_where_tails_matter():
    flat = [0.25, 0.25, 0.25, 0.25]
    side = {"share": flat, "error": [0.01] * 4, "underflow": 0.0, "overflow": 0.0}
    near = changed(toys.histogram(bins=4), reference=side, generated=side)
    assert distribution_figure([near]).axes[0].get_yscale() == "linear"
    assert distribution_figure([toys.histogram()]).axes[0].get_yscale() == "log"


def test_each_category_has_its_panels():
    results = [toys.histogram(category=c, bins=4) for c in (None, "K", "pi", "p")]
    figure = distribution_figure(results)
    assert [axes.get_title(loc="right") for axes in figure.axes[::3]] == ["all", "K", "π", "p"]


def test_map_cells_show_numbers_and_empty_cells_say_why():
    result = toys.auc_map(nx=3, ny=2, few=1)
    first, _, third = auc_map_figure(result, bound=1e-9).axes[:3]
    written = texts(first)
    assert len(written) == 6
    details = result.details
    n = min(details["signal_tracks"][1][2], details["background_tracks"][1][2])
    assert written[-1] == f"n={n:.0f}"
    assert written[0].replace("−", "-") == f"{1e3 * details['difference'][0][0]:+.1f}"
    assert texts(third)[0].replace("−", "-") == f"{details['pull'][0][0]:+.1f}"
    assert len(first.patches) == 5
    mesh = first.collections[0]
    assert mesh.norm.vmin == -mesh.norm.vmax


@pytest.mark.parametrize(("nx", "ny", "few"), [(1, 1, 0), (1, 1, 1), (4, 3, 12), (9, 2, 2)])
def test_maps_of_any_size_and_without_any_cell(nx, ny, few):
    assert render(auc_map_figure(toys.auc_map(nx=nx, ny=ny, few=few)), "png")


def test_efficiency_band_is_the_bound():
    result = toys.efficiency("K")
    upper, lower, pull = efficiency_figure([result], bounds={result.on: 0.005}).axes
    assert upper.get_ylabel() == "P(K → RichDLLk > 0)"
    assert pull.get_xlabel() == "P [GeV]"
    assert pull.get_ylabel() == "Pull"
    band = lower.patches[0].get_bbox()
    assert (band.y0, band.y1) == (-0.005, 0.005)
    assert "allowed: ±0.005" in texts(lower)
    assert not efficiency_figure([result]).axes[1].patches


@pytest.mark.parametrize(("bins", "few"), [(1, 0), (1, 1), (18, 18)])
def test_efficiency_with_few_or_empty_bins(bins, few):
    figure = efficiency_figure([toys.efficiency(bins=bins, few=few)])
    assert render(figure, "png")
    assert any("too few tracks" in t for t in texts(figure.axes[0])) == (bins == few)


def test_classifier_shows_value_null_and_bound():
    figure = classifier_figure(toys.classifier(), bound=0.507)
    assert "AUC = 0.5031 ± 0.0013\nnull = 0.4998 ± 0.0013" in texts(figure.axes[1])
    labels = [t.get_text() for t in figure.axes[2].get_legend().get_texts()]
    assert "largest allowed: 0.507" in labels


def test_classifier_without_null_or_importance():
    result = changed(toys.classifier(value=float("nan")), null_fold_auc=[], importance={}, fold_error=[None] * 5)
    assert render(classifier_figure(result), "png")


def test_structure_and_correlation_with_missing_numbers():
    structure = changed(toys.structure(), difference_error=[None, 0.0, None, 0.1])
    assert render(structure_figure(structure), "png")
    empty = [[None] * 2] * 2
    assert render(correlation_figure(changed(toys.correlation(("a", "b")), reference=empty, difference=empty)), "png")


def test_training_panels():
    figure = training_figure(toys.curves(steps=900))
    assert [a.get_ylabel() for a in figure.axes] == ["Loss", "Validation metric", "Learning rate", "Gradient norm"]
    labels = [t.get_text() for t in figure.axes[1].get_legend().get_texts()]
    assert labels == ["validation", "validation_null"]


@pytest.mark.parametrize("values", [[], [1.0], [np.nan, np.nan], [0.0, np.nan, -3.0]])
def test_training_with_few_or_bad_records(values):
    curve = Curve(np.arange(len(values)), np.asarray(values, dtype=np.float64))
    assert render(training_figure({"loss/network": curve}), "png")


def test_sweight_figure_draws_negative_weights_beside_the_peak():
    rng = np.random.default_rng(2)
    mass = np.concatenate([rng.normal(1.865, 0.008, 1_000), rng.uniform(1.80, 1.93, 1_000)])
    axes = sweight_figure(fit_mass(mass, MassModel((1.80, 1.93), Gaussian()))).axes[0]
    signal, background = (line.get_ydata() for line in axes.lines[1:3])
    assert signal[0] < 0 < signal[len(signal) // 2]
    np.testing.assert_allclose(signal + background, 1.0)


@pytest.mark.parametrize(
    ("value", "error", "expected"),
    [
        (0.51123, 0.00214, "0.5112 ± 0.0021"),
        (-12.3, 1.5, "−12.3 ± 1.5"),
        (12345.6, 230.0, "12,346 ± 230"),
        (0.5, 0.0, "0.5"),
        (0.5, None, "0.5"),
        (float("nan"), 0.1, "–"),
        (None, None, "–"),
        (1.0, 1e-12, "1 ± 1e-12"),
    ],
)
def test_numbers_are_rounded_to_their_errors(value, error, expected):
    assert measured(value, error) == expected
