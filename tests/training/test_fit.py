"""What training finds: known answers, weights, averages, the best checkpoint."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from training_toys import SCHEMA, Duel, Line, line_sample, state_of

from parhelion.errors import ConfigError, DataError, TrainingError
from parhelion.sample import Field, Sample, Schema
from parhelion.surrogates import Loss, Surrogate
from parhelion.training import TrainingConfig, fit, read_curves

FULL = {"batch_size": 10_000, "schedule": "constant", "optimiser": {"kind": "sgd", "learning_rate": 0.15}, "ema": 0.0}


def weighted_least_squares(surrogate: Surrogate, sample: Sample) -> np.ndarray:
    """Coefficients and offset in network space, shape (features + 1, d)."""
    batch = surrogate.encode(sample)
    design = np.concatenate([batch.condition.double().numpy(), np.ones((len(sample), 1))], axis=1)
    w = sample.weight[:, None]
    return np.linalg.solve(design.T @ (w * design), design.T @ (w * batch.response.double().numpy()))


def coefficients(surrogate: Line) -> np.ndarray:
    weight, bias = surrogate.net.weight.detach(), surrogate.net.bias.detach()
    return torch.cat([weight.T, bias[None]]).numpy()


def test_signed_weights_give_weighted_least_squares():
    sample, surrogate = line_sample(), Line(SCHEMA)
    assert sample.weights.negative_share > 0.15
    result = fit(surrogate, sample, config=TrainingConfig(steps=150, **FULL))
    np.testing.assert_allclose(coefficients(surrogate), weighted_least_squares(surrogate, sample), atol=1e-4)
    unweighted = weighted_least_squares(surrogate, sample.with_weight(np.ones(len(sample))))
    assert np.abs(coefficients(surrogate) - unweighted).max() > 5e-3
    assert (result.steps, result.best_step, result.stopped, result.validation) == (150, 150, "budget", None)
    assert result.weights == sample.weights


def test_penalty_is_not_weighted():
    class Ridge(Line):
        def loss(self, player, batch, draws):
            return Loss(super().loss(player, batch, draws).events, penalty=0.5 * (self.net.weight**2).sum())

    sample, surrogate = line_sample(), Ridge(SCHEMA)
    sample = sample.with_weight(30.0 * sample.weight)
    fit(surrogate, sample, config=TrainingConfig(steps=150, **FULL))
    batch = surrogate.encode(sample)
    design = np.concatenate([batch.condition.double().numpy(), np.ones((len(sample), 1))], axis=1)
    w = (sample.weight / np.sum(sample.weight))[:, None]
    moments = design.T @ (w * design) + 0.5 * np.diag([1.0, 1.0, 0.0])
    expected = np.linalg.solve(moments, design.T @ (w * batch.response.double().numpy()))
    np.testing.assert_allclose(coefficients(surrogate), expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["adam", "adamw", "rmsprop"])
def test_small_batches_and_every_optimiser_come_close(kind):
    sample, surrogate = line_sample(), Line(SCHEMA)
    options = {"kind": kind, "learning_rate": 0.02, "weight_decay": 0.0}
    fit(surrogate, sample, config=TrainingConfig(steps=500, batch_size=100, optimiser=options, ema=0.98))
    np.testing.assert_allclose(coefficients(surrogate), weighted_least_squares(surrogate, sample), atol=0.02)


def test_common_factor_on_weights_changes_nothing():
    found = []
    for factor in (1.0, 7.0):
        surrogate, sample = Line(SCHEMA), line_sample()
        fit(surrogate, sample.with_weight(factor * sample.weight), config=TrainingConfig(steps=20, batch_size=64))
        found.append(coefficients(surrogate))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5, atol=1e-6)


def test_chunks_train_as_the_whole(tmp_path):
    sample, found = line_sample(), []
    parts = [sample.take(slice(i, i + 170)) for i in range(0, len(sample), 170)]
    sources = (sample, parts, lambda: iter(parts))
    for k, source in enumerate(sources):
        surrogate = Line(SCHEMA)
        config = TrainingConfig(steps=20, batch_size=64, table_limit=0 if k else 10**9)
        fit(surrogate, source, config=config, run_dir=tmp_path / str(k))
        found.append(state_of(surrogate))
    for other in found[1:]:
        assert all(torch.equal(found[0][name], other[name]) for name in found[0])


def test_same_seed_same_bits_other_seed_other_bits():
    found = []
    for seed in (3, 3, 4):
        torch.manual_seed(len(found))
        surrogate = Duel(SCHEMA)
        fit(surrogate, line_sample(200), config=TrainingConfig(steps=10, batch_size=32), seed=seed)
        found.append(state_of(surrogate))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert not torch.equal(found[0]["net.weight"], found[2]["net.weight"])


def test_turns_take_fresh_batches_of_their_own_players():
    seen: list[tuple[str, bytes, bytes]] = []

    class Watched(Duel):
        def loss(self, player, batch, draws):
            frozen = self.net.weight if player == "critic" else self.critic[0].weight
            seen.append((player, batch.weight.numpy().tobytes(), frozen.detach().numpy().tobytes()))
            return super().loss(player, batch, draws)

    fit(Watched(SCHEMA), line_sample(200), config=TrainingConfig(steps=3, batch_size=20))
    assert [player for player, _, _ in seen] == ["critic"] * 3 + ["generator"] + ["critic"] * 3 + ["generator"] + [
        "critic"
    ] * 2 + ["generator"]
    assert len({rows for _, rows, _ in seen}) == len(seen)
    assert len({frozen for player, _, frozen in seen[:3] if player == "critic"}) == 1


def test_average_is_used_for_sampling(monkeypatch):
    raw: list[torch.Tensor] = []
    surrogate = Line(SCHEMA)
    surrogate.hook = lambda step: raw.append(surrogate.net.weight.detach().clone())
    surrogate.prepare(line_sample(), seed=0)
    expected = surrogate.net.weight.detach().clone()
    fit(surrogate, line_sample(), config=TrainingConfig(steps=60, batch_size=64, ema=0.8))
    for k, weight in enumerate(raw):
        decay = min(0.8, (1 + k) / (10 + k))
        expected = decay * expected + (1 - decay) * weight
    torch.testing.assert_close(surrogate.net.weight.detach(), expected, rtol=1e-4, atol=1e-6)


def test_best_validation_is_restored_and_saved(tmp_path):
    surrogate, at = Line(SCHEMA), {}
    values = iter([5.0, 2.0, float("nan"), 3.0])

    def metric(trained: Surrogate) -> float:
        value = next(values)
        at[value] = state_of(trained)
        return value

    config = TrainingConfig(steps=20, batch_size=64, validate_every=5, ema=0.9, log_every=5)
    result = fit(surrogate, line_sample(), config=config, metric=metric, run_dir=tmp_path)
    assert (result.best_step, result.validation, result.steps) == (10, 2.0, 20)
    assert all(torch.equal(value, at[2.0][name]) for name, value in state_of(surrogate).items())
    assert surrogate.provenance["training"]["step"] == 10
    from parhelion.surrogates.base import read_surrogate

    saved = read_surrogate(tmp_path / "best.safetensors", {"line": Line})
    assert all(torch.equal(value, at[2.0][name]) for name, value in state_of(saved).items())
    np.testing.assert_array_equal(read_curves(tmp_path)["validation"].value, [5.0, 2.0, np.nan, 3.0])


def test_patience_ends_training():
    values = iter([3.0, 2.0, 2.5, 2.0, 9.0])
    config = TrainingConfig(steps=1000, batch_size=64, validate_every=2, patience=2)
    result = fit(Line(SCHEMA), line_sample(), config=config, metric=lambda s: next(values))
    assert (result.steps, result.best_step, result.stopped) == (8, 4, "patience")


def test_seconds_budget():
    config = TrainingConfig(seconds=0.3, batch_size=64)
    result = fit(Line(SCHEMA), line_sample(), config=config)
    assert result.steps > 3
    assert 0.3 <= result.elapsed < 3.0


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("broken", ["loss", "gradient"])
def test_nan_stops_with_step_player_and_checkpoint(tmp_path, broken, clip):
    class Broken(Duel):
        now = 0

        def after_step(self, step):
            self.now = step + 1

        def loss(self, player, batch, draws):
            loss = super().loss(player, batch, draws)
            if player != "generator" or self.now != 12:
                return loss
            if broken == "loss":
                return type(loss)(loss.events * float("inf"))
            # The root's slope at 0 is infinite, its value is not.
            return type(loss)(loss.events + torch.sqrt(self.net.bias.sum() * 0.0))

    config = TrainingConfig(steps=100, batch_size=64, checkpoint_every=10, log_every=7, clip_norm=clip)
    with pytest.raises(TrainingError, match="stopped in step 13: the loss or the gradient of player generator") as e:
        fit(Broken(SCHEMA), line_sample(), config=config, run_dir=tmp_path)
    assert f"the last good checkpoint is {tmp_path / 'last.safetensors'} of step 10" in str(e.value)
    assert "lower the learning rate, set clip_norm" in str(e.value)
    resumed = Duel(SCHEMA)
    result = fit(resumed, line_sample(), config=config.model_copy(update={"steps": 20}), run_dir=tmp_path, resume=True)
    assert result.steps == 20
    assert all(torch.isfinite(value).all() for value in state_of(resumed).values())


def test_wrong_input_is_named(tmp_path):
    sample, config = line_sample(50), TrainingConfig(steps=1)
    with pytest.raises(ConfigError, match="line has no player critic; there are line"):
        fit(Line(SCHEMA), sample, config=TrainingConfig(steps=1, optimisers={"critic": "adam"}))
    with pytest.raises(DataError, match=r"lines.npz: the sum of weights is -50, expected a positive number"):
        fit(Line(SCHEMA), sample.with_weight(-np.ones(50)), config=config)
    with pytest.raises(DataError, match=r"response fields are x, y; the surrogate was made for x \[mm\]"):
        fit(Line(Schema(SCHEMA.condition, (Field("x", "mm"),))), sample, config=config)
    with pytest.raises(DataError, match="the training sample has no rows"):
        fit(Line(SCHEMA), [], config=config)
    with pytest.raises(ConfigError, match="give run_dir"):
        fit(Line(SCHEMA), sample, config=config, resume=True)
    with pytest.raises(DataError, match="validation needs at least 2 rows, got 1"):
        fit(Line(SCHEMA), sample, config=config, validation=sample.take(slice(0, 1)))
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_train():
    class Fixed(Line):
        def players(self):
            return {}

    surrogate = Fixed(SCHEMA)
    result = fit(surrogate, line_sample(50), config=TrainingConfig(steps=5))
    assert (result.steps, result.stopped) == (0, "nothing to train")
    assert surrogate.prepared


def test_progress_hears_where_training_stands():
    heard = []
    config = TrainingConfig(steps=40, batch_size=64, log_every=10, validate_every=20)
    fit(Line(SCHEMA), line_sample(), config=config, validation=line_sample(80, seed=2), progress=heard.append)
    assert [s.step for s in heard] == [10, 20, 30, 40]
    assert [round(s.used, 6) for s in heard] == [0.25, 0.5, 0.75, 1.0]
    assert heard[1].validation is None
    assert heard[2].validation is not None
    assert all(s.rate > 0 and np.isfinite(s.loss["line"]) for s in heard)
