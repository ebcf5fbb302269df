"""Pairing of samples, grouped errors, and the two kinds of null."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from parhelion.errors import DataError
from parhelion.evaluation.samples.bootstrap import poisson_counts, random_signs
from parhelion.evaluation.samples.comparison import Influence, compare
from parhelion.sample import Field, Sample, Schema


def test_generated_rows_are_put_in_the_order_of_the_reference(pid):
    reference = pid.toy(500, 1)
    generated = pid.copy_of(reference, 2)
    shuffled = generated.take(np.random.default_rng(0).permutation(500))
    found = compare(reference, shuffled)
    assert found.paired
    assert found.null_kind == "exchange"
    assert np.array_equal(found.generated["DLLk"], generated["DLLk"])


def test_single_precision_conditions_are_the_same_conditions(pid):
    reference = pid.toy(200, 1)
    columns = {name: column.astype(np.float32) for name, column in pid.copy_of(reference, 2).columns.items()}
    assert compare(reference, Sample(reference.schema, columns, event_id=reference.event_id)).paired


@pytest.mark.parametrize("change", ["condition", "weight", "ids", "length"])
def test_samples_that_share_less_are_independent(pid, change):
    reference = pid.toy(200, 1)
    generated = pid.copy_of(reference, 2)
    if change == "condition":
        columns = {**generated.columns, "P": generated["P"] * 1.01}
        generated = Sample(reference.schema, columns, event_id=reference.event_id)
    elif change == "weight":
        generated = generated.with_weight(np.linspace(0.5, 1.5, 200))
    elif change == "ids":
        generated = pid.copy_of(pid.toy(200, 1, first_id=1000), 2)
    else:
        generated = generated.take(slice(0, 199))
    found = compare(reference, generated)
    assert not found.paired
    assert found.null_kind == "halves"
    assert not set(found.reference_group) & set(found.generated_group)


def test_what_cannot_be_compared_is_refused_in_one_sentence(pid):
    reference = pid.toy(50, 1)
    other = Sample(Schema((Field("P"),), (Field("DLLk"),)), {"P": np.ones(3), "DLLk": np.ones(3)}, source="b.root")
    with pytest.raises(DataError, match=r"b.root: condition fields are P, expected those of reference: P, ETA, Type"):
        compare(reference, other)
    with pytest.raises(DataError, match="no rows to compare"):
        compare(reference, reference.take(slice(0, 0)))
    with pytest.raises(DataError, match="sum of weights is -50"):
        compare(reference, reference.with_weight(-np.ones(50)))


def mean_influence(sample):
    relative = sample.weight / sample.weight.sum()
    x = sample["DLLk"]
    return sparse.csr_matrix((relative * (x - relative @ x))[:, None])


def mean_difference(comparison):
    return Influence(comparison, mean_influence(comparison.reference), mean_influence(comparison.generated))


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("signed", [True, False])
def test_error_and_null_have_the_spread_over_experiments(pid, paired, signed):
    differences, errors, nulls = [], [], []
    for seed in range(120):
        reference = pid.toy(600, seed, signed=signed)
        other = reference if paired else pid.toy(600, seed + 5000, first_id=10**6, signed=signed)
        comparison = compare(reference, pid.copy_of(other, seed))
        relative = reference.weight / reference.weight.sum()
        relative_other = other.weight / other.weight.sum()
        differences.append(relative_other @ comparison.generated["DLLk"] - relative @ reference["DLLk"])
        influence = mean_difference(comparison)
        errors.append(influence.error()[0])
        nulls.append(np.std(influence.null(40, np.random.default_rng(seed))))
    # 120 experiments know the spread to 6.5 %; three sigma.
    assert np.mean(errors) / np.std(differences) == pytest.approx(1.0, abs=0.2)
    assert np.mean(nulls) / np.std(differences) == pytest.approx(1.0, abs=0.2)
    assert abs(np.mean(differences)) < 4 * np.std(differences) / np.sqrt(120)


def test_rows_of_one_group_count_as_one(pid):
    reference = pid.toy(400, 1)
    twice = {name: np.repeat(column, 2, axis=0) for name, column in reference.columns.items()}
    generated = pid.copy_of(reference, 2)
    twice_generated = {name: np.repeat(column, 2, axis=0) for name, column in generated.columns.items()}
    group = np.repeat(np.arange(400), 2)
    doubled = compare(
        Sample(reference.schema, twice, group=group), Sample(reference.schema, twice_generated, group=group)
    )
    single = compare(reference, generated)
    assert mean_difference(doubled).error() == pytest.approx(mean_difference(single).error(), rel=1e-9)


def test_pairing_removes_what_the_samples_share(pid):
    reference = pid.toy(4000, 1)
    paired = compare(reference, pid.copy_of(reference, 2))
    apart = compare(reference, pid.copy_of(pid.toy(4000, 3, first_id=10**6), 2))
    assert mean_difference(paired).error()[0] < 0.85 * mean_difference(apart).error()[0]


def test_counts_are_poisson_and_signs_are_fair():
    rng = np.random.default_rng(0)
    counts = np.concatenate(list(poisson_counts(2000, 120, rng)), axis=1).astype(float)
    assert counts.shape == (2000, 120)
    assert counts.mean() == pytest.approx(1.0, abs=4 / np.sqrt(counts.size))
    assert counts.var() == pytest.approx(1.0, abs=4 * np.sqrt(3 / counts.size))
    signs = np.concatenate(list(random_signs(2000, 30, rng)), axis=1)
    assert set(np.unique(signs)) == {-1.0, 1.0}
    assert abs(signs.mean()) < 4 / np.sqrt(signs.size)
