"""The classifier test: unbiased with pairs, and with negative weights."""

from __future__ import annotations

import numpy as np
import pytest

from parhelion.errors import DataError
from parhelion.evaluation import ClassifierOptions, classifier

OPTIONS = ClassifierOptions(trees=40, min_leaf=5, train_null=False, importance=False)


def pulls(pid, options, experiments, **kwargs):
    found = []
    for seed in range(experiments):
        reference = pid.toy(1500, seed, **kwargs)
        found.append(classifier(reference, pid.copy_of(reference, seed), options, seed=seed)[0])
    return np.array([r.value for r in found]), np.array([r.error for r in found])


@pytest.mark.parametrize("signed", [False, True])
def test_auc_is_unbiased_where_nothing_differs(pid, signed):
    value, error = pulls(pid, OPTIONS, 8, signed=signed)
    # Mean of 8 pulls, spread 1/sqrt(8) = 0.35: three sigma. Small leaves overtrain on purpose.
    pull = (value - 0.5) / error
    assert abs(pull.mean()) < 1.06
    assert 0.35 < pull.std(ddof=1) < 1.9


def test_pairs_split_between_folds_would_bias_the_auc(pid, monkeypatch):
    import sys

    module = sys.modules["parhelion.evaluation.classifier"]
    original = module._rows

    def split_apart(sample, group, fold_of_group, options):
        rows = original(sample, group, fold_of_group, options)
        return rows if sample.source == "reference" else module.replace(rows, fold=1 - rows.fold)

    monkeypatch.setattr(module, "_rows", split_apart)
    value, error = pulls(pid, OPTIONS, 3)
    assert np.mean((value - 0.5) / error) < -3 or np.mean((value - 0.5) / error) > 3


def test_difference_as_a_feature_shows_smeared_ties(pid):
    reference = pid.toy(3000, 1)
    response = pid.copy_of(reference, 2).response
    response[:, 1] += 1e-6 * np.random.default_rng(0).normal(size=len(response))
    smeared = reference.with_response(response, source="smeared")
    blind = classifier(reference, smeared, OPTIONS, seed=1)[0]
    seeing = classifier(reference, smeared, ClassifierOptions(**{
        **OPTIONS.__dict__, "differences": (("DLLk", "DLLp"),), "importance": True}), seed=1)[0]  # fmt: skip
    assert seeing.value > 0.58
    assert seeing.value > blind.value + 5 * seeing.error
    assert next(iter(seeing.details["importance"])) == "DLLk - DLLp"


def test_signed_reference_is_compared_as_the_signal_it_stands_for(pid):
    reference = pid.toy(6000, 1, signed=True)
    signal = classifier(reference, pid.copy_of(reference, 2), OPTIONS, seed=1)[0]
    assert signal.details["signed_training"]
    assert abs(signal.value - 0.5) < 3.5 * signal.error
    everything = classifier(reference, pid.copy_of(reference, 2, shift=0.6), OPTIONS, seed=1)[0]
    assert everything.value > 0.5 + 4 * everything.error


def test_too_few_rows_are_refused(pid):
    reference = pid.toy(1, 1)
    with pytest.raises(
        DataError, match="reference: a fold of 2 has sum of weights 0, expected a positive number; 1 rows are too few"
    ):
        classifier(reference, pid.copy_of(reference, 2), OPTIONS, seed=1)
