"""The nearest-neighbour surrogate and its treatment of signed weights."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.stats import ks_2samp

from parhelion.sample import Field, Sample, Schema
from parhelion.surrogates import Library
from parhelion.surrogates.cells import positive_weights, threshold_sample


def library(sample: Sample, seed: int = 1, **options) -> Library:
    made = Library(sample.schema, Library.Config.model_validate(options))
    made.prepare(sample, seed=seed)
    return made


def ask(made: Library, condition: np.ndarray, seed: int = 3) -> np.ndarray:
    noise = torch.randn(len(condition), made.noise_width, generator=torch.Generator().manual_seed(seed))
    return made.sample(torch.as_tensor(condition), noise).numpy()


def line(n: int, slope: float = 2.0, spread: float = 0.3, seed: int = 1) -> Sample:
    g = np.random.default_rng(seed)
    x = g.uniform(-1, 1, n)
    schema = Schema((Field("x"),), (Field("y"),))
    return Sample(schema, {"x": x, "y": slope * x + spread * g.normal(size=n)})


def test_nearest_row_is_the_row_of_brute_force(toy):
    sample = toy.sample(1000)
    made = library(sample, k=1)
    condition = toy.condition(300, 7)
    response = ask(made, condition)
    pattern = made.codec.pattern
    code = pattern.code(torch.as_tensor(response)).numpy()
    stored = pattern.code(torch.as_tensor(sample.response)).numpy()
    scaled = [np.stack([np.log(c[:, 0]), c[:, 1]], axis=1) for c in (condition, sample.condition)]
    spread = scaled[1].std(axis=0)
    for i in range(300):
        distance = (((scaled[1] - scaled[0][i]) / spread) ** 2).sum(axis=1)
        distance[(sample.condition[:, 2] != condition[i, 2]) | (stored != code[i])] = np.inf
        np.testing.assert_allclose(response[i], sample.response[np.argmin(distance)], rtol=1e-3, atol=1e-3)


def test_noise_chooses_neighbours_by_their_weight():
    g = np.random.default_rng(1)
    y = np.arange(30.0) + 0.01 * g.normal(size=30)
    weight = g.uniform(0.5, 2.0, 30)
    sample = Sample(Schema((Field("x"),), (Field("y"),)), {"x": np.linspace(0, 1, 30), "y": y}, weight=weight)
    made = library(sample, k=5)
    n = 40000
    response = ask(made, np.zeros((n, 1)))
    counts = np.bincount(np.rint(response[:, 0]).astype(int), minlength=30)
    assert counts[5:].sum() == 0
    expected = n * weight[:5] / weight[:5].sum()
    # chi-squared with 4 degrees of freedom: false-positive rate 1e-4.
    assert np.sum((counts[:5] - expected) ** 2 / expected) < 23.5


def test_fewer_rows_than_neighbours_and_unseen_combinations_still_answer(toy):
    made = library(toy.sample(60), k=500)
    assert np.isfinite(ask(made, toy.condition(50, 2))).all()
    sample = toy.sample(3000)
    # Ties below the threshold occur in one species only; the tree does not know it and draws them for both.
    keep = (sample["SPECIES"] == 211) | (sample["P"] > 9.3)
    made = library(sample.take(keep), k=4)
    condition = toy.condition(200, 4)
    condition[:, 0], condition[:, 2] = 5.0, 321.0
    response = ask(made, condition)
    assert np.isfinite(response).all()


def test_a_library_of_categories_alone_resamples_all_rows():
    g = np.random.default_rng(1)
    label = g.choice([0, 1], 4000)
    schema = Schema((Field("label", kind="category", values=(0, 1)),), (Field("y"),))
    made = library(Sample(schema, {"label": label, "y": g.normal(3.0 * label, 1.0)}), k=8)
    response = ask(made, np.zeros((4000, 1)))[:, 0]
    assert ks_2samp(response, g.normal(size=4000)).pvalue > 1e-3
    assert len(np.unique(response)) > 1000


def test_interpolation_takes_out_the_difference_in_condition():
    sample = line(300, slope=5.0, spread=0.1)
    condition = np.linspace(-0.9, 0.9, 4000)[:, None]
    residual = {
        mode: ask(library(sample, k=40, mode=mode, codec={"response": ["affine"]}), condition)[:, 0]
        - 5 * condition[:, 0]
        for mode in ("resample", "interpolate")
    }
    # Forty of 300 rows reach over 0.27 in x: a spread of 5 * 0.27 / sqrt(12) = 0.39 that interpolation removes.
    assert residual["resample"].std() > 0.3
    assert residual["interpolate"].std() == pytest.approx(0.1, rel=0.25)


@pytest.mark.parametrize("options", [{"k": 1}, {"k": 32}, {"k": 64, "mode": "interpolate"}])
def test_signed_weights_give_the_signal_better_than_clipping_or_ignoring(signed_toy, options):
    sample = signed_toy.sample(20000)
    assert sample.weights.negative_share > 0.2
    x, y = signed_toy.truth(20000)

    def distance(weight: np.ndarray) -> float:
        return float(ks_2samp(ask(library(sample.with_weight(weight), **options), x[:, None])[:, 0], y).statistic)

    found = distance(sample.weight)
    # Effective size 3,300 against 20,000: 0.036 is the 0.1 % point of the distance without any bias.
    assert found < 0.05
    assert distance(np.maximum(sample.weight, 0.0)) > 4 * found
    assert distance(np.ones(len(sample))) > 4 * found


def test_cells_keep_totals_and_positive_weights_keep_themselves():
    g = np.random.default_rng(1)
    position, group = g.normal(size=(3000, 2)), g.choice([0, 1], 3000)
    weight = g.choice([-0.5, 1.0], 3000, p=[0.3, 0.7])
    new = positive_weights(position, weight, group)
    assert (new >= 0).all()
    for k in (0, 1):
        assert new[group == k].sum() == pytest.approx(weight[group == k].sum())
    positive = np.abs(weight)
    np.testing.assert_array_equal(positive_weights(position, positive, group), positive)
    # Weight moves by less than the distance of a few rows: sums over quadrants stay within their edges' rows.
    quadrant = (position > 0) @ [1, 2]
    for q in range(4):
        assert new[quadrant == q].sum() == pytest.approx(weight[quadrant == q].sum(), abs=25)


def test_a_seed_at_a_doubled_position_and_a_negative_group():
    position = np.array([[0.0], [0.0], [1.0], [5.0], [5.0]])
    new = positive_weights(position, np.array([-1.0, 0.5, 2.0, -1.0, 0.5]), np.array([0, 0, 0, 1, 1]))
    assert (new >= 0).all()
    assert new[:3].sum() == pytest.approx(1.5)
    assert new[3:].tolist() == [0.0, 0.0]


def test_thinning_keeps_expectations():
    g = np.random.default_rng(1)
    weight = np.concatenate([g.exponential(size=500), [60.0, 80.0], np.zeros(10)])
    value = g.normal(size=512)
    sums = []
    for seed in range(400):
        rows, new = threshold_sample(weight, 100, seed=seed)
        assert abs(len(rows) - 100) <= 1
        assert len(np.unique(rows)) == len(rows)
        assert {500, 501} <= set(rows.tolist())
        assert (weight[rows] > 0).all()
        assert new.sum() == pytest.approx(weight.sum(), rel=0.05)
        sums.append(np.sum(new * value[rows]))
    error = np.std(sums) / np.sqrt(len(sums))
    # 4 standard errors: false-positive rate 6e-5.
    assert abs(np.mean(sums) - np.sum(weight * value)) < 4 * error
    rows, new = threshold_sample(weight, None, seed=1)
    np.testing.assert_array_equal(rows, np.arange(502))
    np.testing.assert_array_equal(new, weight[:502])


def test_max_rows_bounds_the_file_and_keeps_the_distribution(toy):
    sample = toy.sample(6000)
    made = library(sample, k=4, max_rows=2000)
    assert len(made.stored_weight) <= 2001
    assert float(made.stored_weight.sum()) == pytest.approx(6000, rel=1e-3)
    again = library(sample, k=4, max_rows=2000)
    assert torch.equal(made.stored_response, again.stored_response)
    assert not torch.equal(made.stored_response, library(sample, k=4, max_rows=2000, seed=2).stored_response)


def test_declared_thresholds_do_not_part_the_rows(toy):
    made = library(toy.sample(3000), k=4, codec={"structure": {"thresholds": {"P": [9.3]}}})
    # Two species, three patterns.
    assert made.sizes() == {"rows": 3000, "cells": 6}


def test_it_trains_nothing(toy):
    made = library(toy.sample(200))
    assert made.players() == {}
    assert made.turns(0) == ()
    assert list(made.parameters()) == []


def test_wrong_options_are_refused():
    for options in ({"k": 0}, {"mode": "mean"}, {"max_rows": 0}, {"neighbours": 3}):
        with pytest.raises(ValidationError):
            Library.Config.model_validate(options)


@pytest.mark.slow
def test_a_hundred_thousand_queries_in_three_hundred_thousand_rows_take_seconds(toy):
    made = library(toy.sample(300_000), k=16)
    condition = toy.condition(100_000, 3)
    begin = time.perf_counter()
    ask(made, condition)
    assert time.perf_counter() - begin < 20.0
