"""Exact ties, atoms and thresholds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import ndtr

from parhelion.surrogates.structure import FREE, Candidates, PatternModel, find_candidates, row_patterns


def fit(condition: np.ndarray, response: np.ndarray, weight: np.ndarray | None = None, **options) -> PatternModel:
    weight = np.ones(len(response)) if weight is None else weight
    return PatternModel.fit(condition, response, weight, find_candidates(response), **options)


def draw(model: PatternModel, condition: np.ndarray, seed: int = 5) -> np.ndarray:
    uniform = np.random.default_rng(seed).uniform(size=len(condition))
    return model.draw(torch.as_tensor(condition), torch.as_tensor(uniform)).numpy()


def test_candidates_of_the_toy(toy):
    found = find_candidates(toy.sample(5000).response)
    assert found.atoms == ((0.0,), (0.0,), (0.0,))
    # All-zero rows tie every pair.
    assert found.ties == ((0, 1), (0, 2), (1, 2))
    assert find_candidates(toy.sample(5000).response, ties=False, atoms=False) == Candidates((), ((), (), ()))


def test_candidates_look_at_the_whole_of_a_sorted_file():
    response = np.random.default_rng(1).normal(size=(450_000, 2))
    response[-50_000:, 1] = response[-50_000:, 0]
    assert find_candidates(response).ties == ((0, 1),)


def test_a_column_of_counts_has_no_atoms_and_chance_equality_is_no_tie():
    g = np.random.default_rng(1)
    counts = g.poisson(20.0, (5000, 1)).astype(float)
    response = np.concatenate([counts, g.normal(size=(5000, 1))], axis=1)
    response[7, 1] = response[7, 0]
    assert find_candidates(response) == Candidates((), ((), ()))


def test_rows_of_a_chain_of_ties():
    response = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 2.0], [2.0, 2.0, 2.0], [2.0, 1.0, 2.0], [0.0, 0.0, 0.0]])
    candidates = Candidates(((0, 1), (0, 2), (1, 2)), ((0.0,), (0.0,), (0.0,)))
    expected = [[-1, -1, -1], [-1, -1, 1], [-1, 0, 0], [-1, -1, 0], [-2, -2, -2]]
    np.testing.assert_array_equal(row_patterns(response, candidates), expected)


def test_several_thresholds_are_exact_where_declared(toy):
    """Components 1, 2, 3 leave their tie to component 0 at 3, 9.3 and 17.7, in one species only at 30."""
    g = np.random.default_rng(1)
    condition = np.stack([np.exp(g.uniform(0, np.log(100), 20000)), g.choice([0.0, 1.0], 20000)], axis=1)
    free = g.normal(size=(20000, 5))
    known = [3.0, 9.3, 17.7]

    def tied(c: np.ndarray) -> np.ndarray:
        return np.stack([c[:, 0] < t for t in known] + [(c[:, 0] < 30.0) & (c[:, 1] == 1)], axis=1)

    response = free.copy()
    response[:, 1:] = np.where(tied(condition), free[:, :1], free[:, 1:])
    model = fit(condition, response, thresholds={0: [*known, 30.0]})
    assert not model.random
    found = model.threshold[model.feature == 0].unique().tolist()
    assert found == [*known, 30.0]
    test = np.stack([np.exp(g.uniform(0, np.log(100), 50000)), g.choice([0.0, 1.0], 50000)], axis=1)
    edge = np.array([[np.nextafter(t, s * np.inf), 1.0] for t in (*known, 30.0) for s in (-1, 1)])
    at = np.array([[t, 1.0] for t in (*known, 30.0)])
    test = np.concatenate([test, edge, at])
    np.testing.assert_array_equal((model.table[draw(model, test)] == 0).numpy()[:, 1:], tied(test))


def test_an_undeclared_threshold_is_found_to_the_gap_between_rows():
    g = np.random.default_rng(1)
    condition = g.uniform(0, 10, (5000, 1))
    response = g.normal(size=(5000, 2))
    low = condition[:, 0] < 4.0
    response[low, 1] = response[low, 0]
    model = fit(condition, response)
    threshold = float(model.threshold[0])
    assert condition[low, 0].max() < threshold < condition[~low, 0].min()


def test_a_declared_threshold_far_from_any_found_one_is_not_used():
    g = np.random.default_rng(1)
    condition = g.uniform(0, 10, (5000, 1))
    response = g.normal(size=(5000, 2))
    response[condition[:, 0] < 4.0, 1] = response[condition[:, 0] < 4.0, 0]
    assert abs(float(fit(condition, response, thresholds={0: [7.0]}).threshold[0]) - 4.0) < 0.05


def test_probability_of_an_atom_follows_the_condition(toy):
    n = 40000
    condition = toy.condition(n, 1)
    model = fit(condition, toy.response(condition, 1), thresholds={0: [toy.threshold]})
    assert model.random
    test = toy.condition(200_000, 2)
    zero = (model.table[draw(model, test)] == -2).all(dim=1).numpy()
    true = toy.zero_probability(test[:, 0])
    edges = np.quantile(test[:, 0], np.linspace(0, 1, 11))
    bin_of = np.clip(np.digitize(test[:, 0], edges) - 1, 0, 9)
    for b in range(10):
        p, rows = true[bin_of == b].mean(), n / 10
        # Binomial error of the training rows in this bin. The tree's steps add up to the same again, so 5 of them:
        # less than 1e-4 for ten bins.
        error = np.sqrt(p * (1 - p) * (1 / rows + 1 / 20_000))
        assert abs(zero[bin_of == b].mean() - p) < 5 * error + 1e-4


def test_no_dependence_gives_no_split():
    """Chance splits are rare: none in ten samples with one random atom (false-positive rate below 2 %)."""
    for seed in range(10):
        g = np.random.default_rng(seed)
        response = g.normal(size=(3000, 1))
        response[g.uniform(size=3000) < 0.3] = 0.0
        model = fit(g.uniform(size=(3000, 3)), response)
        assert model.depth == 0
        assert float(model.cumulative[0, 0]) == pytest.approx(float((response == 0).mean()))


def test_signed_weights_set_the_shares_in_a_leaf():
    g = np.random.default_rng(1)
    n = 20000
    signal = g.uniform(size=n) < 0.5
    zero = g.uniform(size=n) < np.where(signal, 0.1, 0.6)
    # Background rows of either sign cancel.
    weight = np.where(signal, 1.0, g.choice([-1.0, 1.0], n))
    response = np.where(zero, 0.0, g.normal(size=n))[:, None]
    model = fit(g.uniform(size=(n, 1)), response, weight)
    at_zero = int(torch.nonzero(model.table[:, 0] == -2))
    share = model.cumulative[:, at_zero] - (model.cumulative[:, at_zero - 1] if at_zero else 0.0)
    # Error: sqrt(sum w^2) / sum w = sqrt(20000) * 0.55 / 10000.
    assert float(share[model.feature < 0].mean()) == pytest.approx(0.1, abs=4 * np.sqrt(0.35 * n) / (n / 2))


def test_a_leaf_whose_weights_cancel_counts_rows():
    response = np.concatenate([np.zeros((30, 1)), np.random.default_rng(1).normal(size=(70, 1))])
    weight = np.where(np.arange(100) % 2 == 0, 1.0, -1.0)
    model = fit(np.zeros((100, 1)), response, weight)
    assert model.cumulative[0].tolist() == pytest.approx([0.3, 1.0])


def test_accidental_patterns_count_as_free():
    g = np.random.default_rng(1)
    response = g.normal(size=(5000, 3))
    response[:2000, 1] = response[:2000, 0]
    response[5:12, 2] = response[5:12, 0]
    condition = np.arange(5000.0)[:, None]
    model = fit(condition, response, thresholds={0: [1999.5]})
    assert sorted(model.table.tolist()) == [[-1, -1, -1], [-1, 0, -1]]
    assert not model.random


def test_an_unknown_response_counts_as_free_even_if_training_had_no_free_row():
    response = np.random.default_rng(1).normal(size=(100, 1)).repeat(2, axis=1)
    model = fit(np.zeros((100, 1)), response)
    assert (model.table == FREE).all(dim=1).any()
    pattern = model.code(torch.tensor([[1.0, 1.0], [1.0, 2.0]]))
    assert model.active(pattern).tolist() == [[True, False], [True, True]]
    assert not model.random
    assert draw(model, np.zeros((50, 1))).tolist() == [int(pattern[0])] * 50


def test_a_generated_atom_is_recognised_in_either_precision():
    response = np.random.default_rng(1).normal(size=(400, 1))
    response[:200] = 0.1
    model = fit(np.zeros((400, 1)), response)
    single = torch.tensor([[0.1]], dtype=torch.float32)
    assert not bool(model.active(model.code(single)).any())
    assert not bool(model.active(model.code(single.double())).any())


@pytest.mark.parametrize("normal", [-40.0, -8.5, 8.5, 40.0])
def test_extreme_noise_draws_a_possible_pattern(normal):
    g = np.random.default_rng(1)
    response = g.normal(size=(600, 3))
    response[:200, 1] = response[:200, 0]
    response[200:400] = 0.0
    condition = np.repeat([0.0, 1.0, 1.0], 200)[:, None]
    model = fit(condition, response)
    uniform = torch.full((2,), float(ndtr(normal)), dtype=torch.float64)
    pattern = model.draw(torch.tensor([[0.0], [1.0]], dtype=torch.float64), uniform)
    assert model.table[pattern[0]].tolist() == [-1, 0, -1]
    assert model.table[pattern[1]].tolist() in ([-2, -2, -2], [-1, -1, -1])


def test_sizes_and_state_rebuild_it(toy):
    condition = toy.condition(3000, 1)
    model = fit(condition, toy.response(condition, 1))
    again = PatternModel.of_sizes(model.sizes())
    again.load_state_dict(model.state_dict())
    test = toy.condition(2000, 2)
    np.testing.assert_array_equal(draw(model, test), draw(again, test))
