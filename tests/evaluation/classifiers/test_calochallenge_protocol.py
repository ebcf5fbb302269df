"""The published evaluation of the CaloChallenge on showers of known shape."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from parhelion.errors import DataError
from parhelion.evaluation.classifiers.calochallenge_protocol import (
    ChallengeShowers,
    DenseClassifier,
    dense_classifier,
    published_features,
    published_separation,
    published_separations,
)
from parhelion.io.binning import DATASETS
from parhelion.observables.calochallenge import cut, high_level, normed_voxel_vector, voxel_vector

WIDTHS = {"1-photons": 30, "1-pions": 46, "2": 362, "3": 362}


def showers(geometry, n, *, seed=1, tilt=0.0):
    rng = np.random.default_rng(seed)
    incident = 10 ** rng.uniform(4, 5, n)
    mean = np.exp(-geometry.radius / 20) * np.exp(tilt * geometry.eta / 40)
    cells = rng.gamma(0.6, mean / 0.6, size=(n, geometry.voxels))
    return ChallengeShowers(incident, cells * (0.9 * incident / cells.sum(axis=1))[:, None])


@pytest.mark.parametrize("name", DATASETS)
def test_feature_vectors_have_the_published_widths(name):
    geometry = DATASETS[name]
    assert published_features(showers(geometry, 3), geometry).shape == (3, WIDTHS[name])


def test_features_of_two_voxels_by_hand():
    geometry = DATASETS["2"]
    voxels = np.zeros((1, geometry.voxels))
    first, second = (np.arange(geometry.voxels).reshape(geometry.shape)[4, a, r] for a, r in ((2, 1), (9, 6)))
    voxels[0, first], voxels[0, second], voxels[0, 0] = 30.0, 10.0, 0.015
    f = high_level(cut(voxels, geometry), geometry)
    at = [geometry.eta[[first, second]], geometry.phi[[first, second]], geometry.radius[[first, second]]]
    mean = [np.average(v, weights=[3, 1]) for v in at]
    spread = [np.sqrt(np.average((v - m) ** 2, weights=[3, 1])) for v, m in zip(at, mean, strict=True)]
    assert [f.centre_eta[0, 4], f.centre_phi[0, 4], f.centre_r[0, 4]] == pytest.approx(mean)
    assert [f.width_eta[0, 4], f.width_phi[0, 4], f.width_r[0, 4]] == pytest.approx(spread)
    assert f.sparsity[0, 4] == pytest.approx(1 - 2 / 144)
    # The voxel in layer 0 is below the threshold of 15.15 keV, one at the threshold would stay.
    assert f.layer_energy[0, 0] == 0
    assert f.total[0] == 40.0
    assert f.centre_r[0, 0] == f.width_r[0, 0] == 0


def test_layers_without_cuts_in_angle_have_no_centres():
    f = high_level(showers(DATASETS["1-pions"], 2).voxels, DATASETS["1-pions"])
    assert f.angular == (1, 2, 4, 5)
    assert f.centre_eta.shape == (2, 4)


def test_low_level_inputs():
    geometry, given = DATASETS["1-photons"], showers(DATASETS["1-photons"], 4)
    plain = voxel_vector(cut(given.voxels, geometry), given.incident)
    assert plain.shape == (4, 369)
    assert plain[:, 1:].sum(axis=1) == pytest.approx(np.full(4, 0.9), abs=0.01)
    normed = normed_voxel_vector(given.voxels, given.incident, geometry)
    assert normed.shape == (4, 1 + 368 + 5)
    assert normed[:, 1:9].sum(axis=1) == pytest.approx(np.ones(4), abs=0.01)


def test_separation_is_the_published_formula():
    edges = np.array([0.0, 1.0, 2.0])
    assert published_separation([0.5, 0.5, 1.5, 9.0], [0.5, 1.5, 1.5], edges) == pytest.approx(0.5 * 2 * (1 / 9))
    assert published_separation([0.5], [1.5], edges) == pytest.approx(1.0)
    with pytest.raises(DataError, match="no value of a sample lies between 0 and 2"):
        published_separation([5.0], [0.5], edges)


def test_separations_find_the_layers_that_differ():
    geometry = DATASETS["1-photons"]
    same = published_separations(showers(geometry, 400), showers(geometry, 400, seed=2), geometry)
    moved = published_separations(showers(geometry, 400), showers(geometry, 400, seed=3, tilt=0.8), geometry)
    expected = {
        "response",
        "voxel",
        "centre_eta_1",
        "width_phi_2",
        "sparsity_12",
        "energy_0",
        "centre_r_3",
        "width_r_0",
    }
    assert expected <= set(same)
    assert "centre_eta_0" not in same
    assert moved["centre_eta_1"] > 0.5 > 5 * same["centre_eta_1"]


def test_dense_classifier_reaches_the_best_auc_there_is():
    rng = np.random.default_rng(4)
    small = DenseClassifier(width=32, batch=100, epochs=12, double=False, learning_rate=2e-3)
    x, y = rng.normal(0, 1, (2500, 3)), rng.normal(0, 1, (2500, 3))
    shift = np.array([1.0, 0.0, 0.0])
    found = dense_classifier(x + shift, y, small, seed=1)
    # 500 held-out rows of each: standard error 0.015.
    assert found.auc == pytest.approx(norm.cdf(1 / np.sqrt(2)), abs=0.05)
    assert 0.05 < found.jsd < 0.3
    assert dense_classifier(x + shift, y, small, seed=1) == found
    null = dense_classifier(x, y, small, seed=2)
    assert null.auc == pytest.approx(0.5, abs=0.06)
    with pytest.raises(DataError, match="expected at least 10 rows of one width"):
        dense_classifier(x, y[:, :2], small, seed=1)
