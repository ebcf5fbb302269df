"""Memorisation: oracles, honest and copying surrogates, ties, signed weights, groups."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kstest, mannwhitneyu

from parhelion.errors import ConfigError, DataError
from parhelion.evaluation.neighbours.memorisation import METRIC, MemorisationOptions, memorisation
from parhelion.evaluation.neighbours.nearness import near_share, rank_test
from parhelion.sample import Field, Sample, Schema
from parhelion.surrogates.library import Library, LibraryConfig

OPTIONS = MemorisationOptions(replicas=400)
CLOUD = Schema((), (Field("x"), Field("y"), Field("z")))


def cloud(n, seed, *, first_id=0):
    rows = np.random.default_rng(seed).normal(size=(n, 3))
    return from_rows(rows, first_id)


def from_rows(rows, first_id):
    columns = {name: rows[:, i] for i, name in enumerate("xyz")}
    return Sample(CLOUD, columns, event_id=np.arange(first_id, first_id + len(rows)))


def copier(train, n, share, noise, seed):
    """Fresh rows, a share of which are replaced by training rows with a little noise."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, 3))
    copies = rng.random(n) < share
    rows[copies] = train.response[rng.integers(0, len(train), copies.sum())]
    rows[copies] += noise * rng.normal(size=(copies.sum(), 3))
    return from_rows(rows, 2 * 10**6)


def run(reference, generated, train, options=OPTIONS, seed=1):
    return memorisation(reference, generated, options, seed=seed, train=train)


def test_z_is_that_of_mann_and_whitney():
    rng = np.random.default_rng(0)
    ours, theirs = np.round(rng.exponential(size=300), 1), np.round(rng.exponential(0.8, size=200), 1)
    test = rank_test(ours, theirs, np.ones(300), np.ones(200))
    assert test.auc == pytest.approx(mannwhitneyu(theirs, ours).statistic / (300 * 200), abs=1e-12)
    ours, theirs = rng.exponential(size=300), rng.exponential(0.8, size=200)
    test = rank_test(ours, theirs, np.ones(300), np.ones(200))
    variance = np.sum(test.reference_null**2) + np.sum(test.generated_null**2)
    assert variance == pytest.approx((1 / 300 + 1 / 200) / 12, rel=0.03)
    scaled = rank_test(ours**2, theirs**2, np.full(300, 3.0), np.ones(200))
    assert scaled.auc == pytest.approx(test.auc, abs=1e-12)


def test_share_of_near_rows():
    ours, theirs = np.arange(1.0, 1001.0), np.concatenate([np.full(50, 5.5), np.arange(51.0, 1001.0)])
    found = near_share(ours, theirs, np.ones(1000), np.full(1000, 2.0), 0.01)
    assert found.threshold == 10.0
    assert (found.reference, found.generated, found.copying) == pytest.approx((0.01, 0.05, 5.0))
    # Copies stand far from the threshold, where the reference's fluctuation moves nothing: only theirs remains.
    assert np.sum(found.generated_influence**2) == pytest.approx(0.05 * 0.95 / 1000 / 0.01**2)


def test_error_of_copying_is_the_spread_of_experiments():
    train = cloud(1500, 0, first_id=10**6)
    results = [run(cloud(1000, 2 * s), copier(train, 1000, 0.1, 0.0, s), train, seed=s)[0] for s in range(1, 31)]
    value = np.array([r.value for r in results])
    # 0.1 copies and 0.9 x 0.01 honest near rows.
    assert value.mean() == pytest.approx(10.9, abs=4 * value.std() / np.sqrt(30) + 0.3)
    # Thirty experiments know a spread to 13 %.
    assert np.mean([r.error for r in results]) == pytest.approx(value.std(ddof=1), rel=0.5)


@pytest.mark.parametrize(("paired", "signed"), [(True, False), (False, True)])
def test_honest_samples_have_uniform_p_values(pid, paired, signed):
    found = {name: [] for name in METRIC.quantities}
    for seed in range(30):
        reference = pid.toy(1000, seed, signed=signed)
        at = reference if paired else pid.toy(1000, 1000 + seed, first_id=10**7, signed=signed)
        train = pid.toy(800, 5000 + seed, first_id=10**8, signed=signed)
        for result in run(reference, pid.copy_of(at, seed), train, replace(OPTIONS, cells=5), seed):
            for name in METRIC.quantities:
                found[name].append(result.quantity(name))
    for name, quantities in found.items():
        p = np.array([q.p_value for q in quantities])
        assert kstest(p, "uniform").pvalue > 1e-4, name
        # Sixty (pairs of them not independent) at 5 %: 3 expected.
        assert np.sum(p <= 0.05) <= 12, name
        value = np.array([q.value for q in quantities])
        assert np.mean([q.null_error for q in quantities]) == pytest.approx(value.std(ddof=1), rel=0.35), name
        assert np.mean(value) == pytest.approx(np.mean([q.null for q in quantities]), abs=0.6 * value.std()), name


def test_copies_are_found_and_underfitting_is_not_taken_for_them():
    train = cloud(2000, 0, first_id=10**6)
    reference = cloud(2000, 1)
    copied = run(reference, copier(train, 2000, 0.05, 0.001, 2), train)[0]
    assert copied.value == pytest.approx(6.0, abs=1.5)
    assert copied.p_value < 0.01
    assert copied.quantity("copying_local").p_value < 0.01
    everything = run(reference, copier(train, 2000, 1.0, 0.001, 2), train)[0]
    assert everything.value == pytest.approx(100.0, rel=0.05)
    assert everything.quantity("z_u").value < -30
    assert everything.quantity("c_t").p_value < 1e-6
    wide = from_rows(1.5 * np.random.default_rng(3).normal(size=(2000, 3)), 10**7)
    found = run(reference, wide, train)[0]
    assert found.quantity("z_u").value > 5
    assert found.p_value > 0.5
    assert found.quantity("z_u").p_value > 0.999


def test_cells_of_exactly_the_least_size_count():
    """Twenty rows of weight 1 are twenty effective rows, whatever the rounding of relative weights."""
    place = np.where(np.arange(60) < 20, 0.0, 100.0)[:, None]
    samples = [from_rows(place + np.random.default_rng(seed).normal(size=(60, 3)), seed * 10**6) for seed in range(3)]
    result = run(*samples, replace(OPTIONS, cells=2, min_effective=20.0))[0]
    assert len(result.details["cells"]["z"]) == 2


def test_copies_of_a_few_training_rows_in_a_desert_are_found_locally():
    """Where training rows are rare, a noisy copy is no nearer than honest rows elsewhere are; d1 / d2 tells."""
    rng = np.random.default_rng(0)

    def heavy(n):
        return rng.standard_t(1.5, size=(n, 3))

    train, reference, rows = from_rows(heavy(1500), 10**6), from_rows(heavy(2000), 0), heavy(2000)
    far = np.argsort(-np.linalg.norm(train.response, axis=1))[:100]
    rows[:100] = train.response[far] * (1 + 0.02 * rng.normal(size=(100, 3)))
    result = run(reference, from_rows(rows, 10**7), train)[0]
    assert result.quantity("copying_local").p_value < 0.01
    assert result.quantity("copying_local").value > result.quantity("copying").value


@pytest.mark.parametrize("k", [1, 16])
def test_a_library_is_found_and_honest_responses_are_not(pid, k):
    train, reference = pid.toy(3000, 1, first_id=10**8), pid.toy(2000, 2)
    library = Library(pid.SCHEMA, LibraryConfig(k=k))
    library.prepare(train, seed=1)
    from parhelion import generate

    made = generate(library, reference, seed=1, outside="clamp")
    found = {r.on: r for r in run(reference, made, train)}
    assert found["responses"].value > 20
    assert found["responses"].p_value < 0.01
    assert found["responses"].quantity("z_u").value < -20
    honest = {r.on: r for r in run(reference, pid.copy_of(reference, 3), train)}
    assert all(q.p_value > 1e-3 for r in honest.values() for q in r.quantities.values())


def test_structure_is_no_copy(pid):
    """One response in twenty is all zero in every sample; a surrogate with only zeros copies no row."""
    train, reference = pid.toy(2000, 1, first_id=10**8), pid.toy(2000, 2)
    honest = run(reference, pid.copy_of(reference, 3), train)[1]
    assert honest.details["repeated"] > 50
    assert honest.value < 3
    counts = Schema((), (Field("count", kind="integer"),))
    rng = np.random.default_rng(0)
    samples = [
        Sample(counts, {"count": rng.poisson(3, 500)}, event_id=np.arange(i, i + 500)) for i in (0, 10**6, 10**7)
    ]
    found = run(samples[0], samples[1], samples[2])[0]
    assert found.p_value > 1e-3
    assert abs(found.quantity("z_u").value) < 4


def test_signed_weights_see_the_copies_of_the_signal_alone():
    """Copies among rows that the weights cancel do not count; those of the signal do."""
    rng = np.random.default_rng(5)
    train = cloud(2000, 0, first_id=10**6)
    for copied_signal in (False, True):
        rows = rng.normal(size=(6000, 3))
        rows[4000:5000] = rows[5000:] = train.response[:1000]
        weight = np.ones(6000)
        weight[5000:] = -1.0 if not copied_signal else -0.5
        generated = from_rows(rows, 10**7).with_weight(weight)
        result = run(cloud(3000, 1), generated, train)[0]
        expected = (500 + 40) / 4500 / 0.01 if copied_signal else 1.0
        assert result.value == pytest.approx(expected, abs=4 * result.error + 0.5)
        assert (result.p_value < 0.01) == copied_signal


def test_results_are_complete_and_reproducible(pid):
    train, reference = pid.toy(600, 1, first_id=10**8), pid.toy(700, 2, group_size=3)
    generated = pid.copy_of(reference, 3)
    first = run(reference, generated, train)
    assert [r.to_dict() for r in first] == [r.to_dict() for r in run(reference, generated, train)]
    assert [r.on for r in first] == ["conditions and responses", "responses"]
    for result in first:
        json.dumps(result.to_dict(), allow_nan=False)
        assert result.details["caption"].endswith(".")
        for name in METRIC.quantities:
            q = result.quantity(name)
            assert np.isfinite([q.value, q.error, q.null, q.null_error]).all()
            assert 0 <= q.p_value <= 1


def test_mistakes_are_told(pid):
    train, reference = pid.toy(600, 1, first_id=10**8), pid.toy(300, 2)
    generated = pid.copy_of(reference, 3)
    with pytest.raises(DataError, match=r"100 % of the rows of .* expected a reference that training has not seen"):
        run(reference, generated, reference)
    with pytest.raises(DataError, match="3 training rows, expected at least 10"):
        run(reference, generated, train.take(slice(0, 3)))
    with pytest.raises(DataError, match="no field P of shape"):
        run(reference, generated, cloud(100, 1))
    with pytest.raises(ConfigError, match="level 0"):
        MemorisationOptions(level=0.0)
    tiny = run(reference.take(slice(0, 3)), generated.take(slice(0, 3)), train)
    assert all(np.isfinite([q.value, q.error]).all() for r in tiny for q in r.quantities.values())
