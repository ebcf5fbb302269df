"""Between physical units and network space."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from parhelion.errors import ConfigError
from parhelion.sample import Field, Sample, Schema
from parhelion.surrogates import Codec, CodecConfig


def chain(n: int = 6000, seed: int = 1) -> Sample:
    """Differences to a pion hypothesis: below 18 x_p = x_bt, below 9 x_k = x_p = x_bt, five percent all zero."""
    g = np.random.default_rng(seed)
    p = np.exp(g.uniform(np.log(2.0), np.log(100.0), n))
    bt = 20.0 * g.normal(size=n)
    proton = np.where(p < 18.0, bt, bt + g.normal(size=n))
    kaon = np.where(p < 9.0, proton, proton + g.normal(size=n))
    response = np.where((g.uniform(size=n) < 0.05)[:, None], 0.0, np.stack([bt, proton, kaon], axis=1))
    schema = Schema((Field("P", "GeV"),), tuple(Field(name) for name in ("x_bt", "x_p", "x_k")))
    return Sample(schema, {"P": p, **dict(zip(("x_bt", "x_p", "x_k"), response.T, strict=True))})


def codec(sample: Sample, **options) -> Codec:
    made = Codec(sample.schema, CodecConfig.model_validate(options))
    made.fit(sample)
    return made


DIFFERENCES = {"differences": {"x_k": "x_p", "x_p": "x_bt"}, "thresholds": {"P": [9.0, 18.0]}}


@pytest.mark.parametrize(
    "structure", [{}, DIFFERENCES, {"differences": {"x_k": "x_bt"}}, {"differences": {"x_k": {"x_bt": 0.4, "x_p": -2}}}]
)
def test_decoding_undoes_encoding_with_exact_structure(structure):
    sample = chain()
    made = codec(sample, structure=structure)
    response = torch.as_tensor(sample.response)
    x, active, pattern = made.encode_response(response)
    again = made.decode_response(x, pattern)
    torch.testing.assert_close(again, response.float(), rtol=1e-4, atol=1e-3)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert torch.equal(again[:, i] == again[:, j], response[:, i] == response[:, j])
    assert torch.equal((again == 0).all(dim=1), (response == 0).all(dim=1))
    zero = (response == 0).all(dim=1)
    assert not active[zero].any()
    assert bool((x[~active] == 0).all())
    assert torch.equal(active[:, 2], ~zero & (torch.as_tensor(sample["P"]) >= 9.0))


def test_decoding_any_noise_keeps_the_pattern():
    sample = chain()
    made = codec(sample, structure=DIFFERENCES)
    _, _, pattern = made.encode_response(torch.as_tensor(sample.response))
    noise = 3 * torch.randn(len(sample), 3, generator=torch.Generator().manual_seed(1))
    response = made.decode_response(noise, pattern)
    assert torch.equal(made.pattern.code(response), pattern)
    assert torch.equal(made.pattern.code(response.double()), pattern)


def test_active_entries_are_those_of_the_encoded_pattern(toy):
    sample = toy.sample(3000)
    made = codec(sample)
    _, active, pattern = made.encode_response(torch.as_tensor(sample.response))
    encoded = made.encode_condition(torch.as_tensor(sample.condition), pattern)
    assert encoded.shape == (3000, made.features)
    assert torch.equal(made.active_entries(encoded), active)
    plain = codec(sample, structure={"ties": False, "atoms": False})
    encoded = plain.encode_condition(torch.as_tensor(sample.condition), torch.zeros(3000, dtype=torch.long))
    assert bool(plain.active_entries(encoded).all())
    assert plain.active_entries(encoded).shape == (3000, 3)


def test_an_encoded_condition_splits_into_its_parts(toy):
    sample = toy.sample(2000)
    made = codec(sample, structure={"thresholds": {"P": [9.3]}})
    _, _, pattern = made.encode_response(torch.as_tensor(sample.response))
    encoded = made.encode_condition(torch.as_tensor(sample.condition), pattern)
    near, code = made.split_condition(encoded)
    assert torch.equal(near, encoded[:, :2])
    assert torch.equal(code[:, 0] == 1, torch.as_tensor(sample["SPECIES"] == 211))
    assert torch.equal(code[:, 2:].argmax(dim=1), pattern)
    assert bool((code.sum(dim=1) == 2).all())


def test_conditions_are_standard_on_the_chosen_scale(toy):
    sample = toy.sample(4000)
    made = codec(sample, structure={"thresholds": {"P": [9.3]}})
    encoded = made.encode_condition(torch.as_tensor(sample.condition), torch.zeros(4000, dtype=torch.long)).double()
    assert made.log_scale.tolist() == [True, False]
    torch.testing.assert_close(encoded[:, :2].mean(dim=0), torch.zeros(2).double(), rtol=0, atol=1e-4)
    torch.testing.assert_close(encoded[:, :2].std(dim=0), torch.ones(2).double(), rtol=0, atol=1e-3)
    assert torch.equal(encoded[:, 2] == 1, torch.as_tensor(sample["SPECIES"] == 211))
    assert torch.equal(encoded[:, 3] == 1, torch.as_tensor(sample["SPECIES"] == 321))
    ramps = encoded[:, 4 : 4 + len(made.ramp_column)]
    assert ramps.min() == 0
    assert ramps.max() == 1
    above = torch.as_tensor(sample["P"] > 9.3)
    assert any(torch.equal(ramp > 0, above) for ramp in ramps.T), "a ramp begins at the known threshold"
    assert made.log_scale.tolist() != codec(sample, condition={"P": "linear"}).log_scale.tolist()


def test_a_threshold_at_zero_is_finite():
    sample = chain()
    shifted = Sample(sample.schema, {**sample.columns, "P": sample["P"] - 9.0})
    made = codec(shifted, structure={"thresholds": {"P": [0.0]}})
    _, _, pattern = made.encode_response(torch.as_tensor(shifted.response))
    condition = torch.tensor([[0.0], [-1.0], [1e-9]], dtype=torch.float64)
    encoded = made.encode_condition(condition, pattern[:3])
    assert bool(encoded.isfinite().all())
    ramps = encoded[:, 1 : 1 + len(made.ramp_column)]
    assert bool(((ramps >= 0) & (ramps <= 1)).all())


def test_the_domain_is_what_training_saw():
    schema = Schema((Field("P"), Field("SPECIES", kind="category", values=(11, 211, 321))), (Field("y"),))
    g = np.random.default_rng(1)
    columns = {"P": np.linspace(1.0, 5.0, 100), "SPECIES": g.choice([211, 321], 100), "y": g.normal(size=100)}
    made = codec(Sample(schema, columns))
    rows = [[1.0, 211], [5.0, 321], [0.99, 211], [5.01, 321], [2.0, 11], [2.0, 13], [np.nan, 211], [2.0, np.nan]]
    expected = [[0, 0], [0, 0], [1, 0], [1, 0], [0, 1], [0, 1], [1, 0], [0, 1]]
    assert made.outside(torch.tensor(rows, dtype=torch.float64)).int().tolist() == expected


def test_log_det_is_that_of_the_encoding():
    sample = chain(3000)
    made = codec(sample, structure=DIFFERENCES)
    response = torch.as_tensor(sample.response[:200])
    for row in response:
        _, active, pattern = made.encode_response(row[None])
        free = active[0]

        def encode(values: torch.Tensor, free=free, pattern=pattern) -> torch.Tensor:
            # Move the free components; tied ones follow.
            columns: list[torch.Tensor] = []
            moved = iter(values)
            for j, code in enumerate(made.pattern.table[pattern[0]].tolist()):
                columns.append(next(moved) if free[j] else columns[code] if code >= 0 else torch.zeros(()))
            return made.transform(made._difference(torch.stack(columns)[None]))[0][free]

        if free.any():
            jacobian = torch.autograd.functional.jacobian(encode, row[free].float())
            expected = torch.linalg.slogdet(jacobian)[1]
        else:
            expected = torch.zeros(())
        torch.testing.assert_close(made.log_det(row[None])[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"structure": {"differences": {"x_q": "x_p"}}}, "differences: x_q is no such field; there are x_bt, x_p, x_k"),
        ({"structure": {"differences": {"x_bt": "x_p"}}}, "x_bt - x_p: x_p must be declared before x_bt"),
        ({"structure": {"thresholds": {"ETA": [1.0]}}}, "thresholds: ETA is no such field; there are P"),
        ({"condition": {"PT": "log"}}, "condition: PT is no such field"),
        ({"response": ["rank"]}, "transform 'rank' is unknown"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        codec(chain(100), **options)


def test_the_logarithm_of_a_condition_that_is_not_positive_is_refused():
    sample = chain(100)
    shifted = Sample(sample.schema, {**sample.columns, "P": sample["P"] - 50.0}, source="file.root")
    with pytest.raises(ConfigError, match=r"file.root: condition P, row \d+: .* has no logarithm, choose linear"):
        codec(shifted, condition={"P": "log"})


def test_wide_responses_skip_structure():
    schema = Schema((Field("E"),), (Field("image", shape=(9, 9)),))
    g = np.random.default_rng(1)
    image = g.exponential(size=(300, 9, 9)) * (g.uniform(size=(300, 9, 9)) < 0.3)
    made = codec(Sample(schema, {"E": g.uniform(1, 2, 300), "image": image}))
    assert made.pattern.trivial
    x, _, pattern = made.encode_response(torch.as_tensor(image.reshape(300, 81)))
    torch.testing.assert_close(
        made.decode_response(x, pattern), torch.as_tensor(image.reshape(300, 81)).float(), rtol=1e-3, atol=1e-3
    )
