"""Cascades over volumes: energy is conserved on the way down, angles close, all orientations are alike."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from shower_toys import THRESHOLD, VolumeToy
from test_cascade import train

from parhelion.errors import ConfigError, DataError
from parhelion.sample import Field, Sample, Schema
from parhelion.surrogates import Cascade, CodecConfig, Draws
from parhelion.surrogates.cascade import CascadeConfig
from parhelion.surrogates.cascade.volume import Volume

SHAPES = [
    ((45, 16, 9), True),
    ((6, 25, 18), True),
    ((3, 5, 2), True),
    ((8, 14, 14), False),
    ((5, 3, 7), False),
    ((2, 1, 1), False),
    ((1, 1, 1), False),
]
each = pytest.mark.parametrize(("shape", "polar"), SHAPES)


def cascade(toy: VolumeToy, sample: Sample | None = None, **options) -> Cascade:
    codec = CodecConfig(response=[], knots=0, threshold=THRESHOLD)
    small = {"core_width": 8, "ring_width": 8, "width": 8, "components": 2, "energy": "energy", "polar": toy.polar}
    sample = toy.sample(300) if sample is None else sample
    made = Cascade(sample.schema, CascadeConfig.model_validate({"codec": codec, **small, **options}))
    made.prepare(sample, seed=1)
    return made.eval()


@each
def test_each_map_sums_the_next_and_every_part_is_divided_once(shape, polar):
    volume = Volume(shape, polar=polar)
    cells = torch.rand(3, math.prod(shape), generator=torch.Generator().manual_seed(1)) + 0.1
    maps = volume.maps(cells)
    assert len(maps) == volume.depth + 1 == len(volume.levels) + 1
    assert torch.equal(maps[-1][:, volume.cells], cells)
    for k, level in enumerate(volume.levels):
        assert maps[k].shape == (3, volume.stride(k))
        assert (maps[k][:, 0] == 0).all()
        torch.testing.assert_close(maps[k].sum(dim=1), cells.sum(dim=1))
        own = torch.cat([phase.see[:, 0] for phase in level.phases])
        assert len(own.unique()) == len(own) == int((maps[k][0] > 0).sum())
        start = volume.stride(k)
        parts = torch.cat([phase.parts[phase.inside] for phase in level.phases]) - start
        assert len(parts.unique()) == len(parts)
        assert set(maps[k + 1][0].nonzero()[:, 0].tolist()) == set(parts.tolist())
        for phase in level.phases:
            torch.testing.assert_close(maps[k + 1][:, phase.parts - start].sum(dim=2), maps[k][:, phase.see[:, 0]])


@each
def test_a_block_sees_of_the_finer_map_only_what_is_divided_before_it(shape, polar):
    volume = Volume(shape, polar=polar)
    for k, level in enumerate(volume.levels):
        divided: set[int] = set()
        for phase in level.phases:
            seen = {int(c) for c in phase.see.flatten() if c > volume.stride(k)}
            assert seen <= divided
            divided |= set(phase.parts.flatten().tolist())


def places(volume: Volume, k: int) -> dict[int, tuple[int, ...]]:
    """Coordinates of each entry of map k."""
    return {1 + i: at for i, at in enumerate(itertools.product(*(range(n) for n in volume.shapes[k])))}


@each
def test_a_block_sees_its_six_neighbours_and_angles_close(shape, polar):
    volume = Volume(shape, polar=polar)
    for k, level in enumerate(volume.levels):
        at = places(volume, k)
        blocks = {at[int(b)] for phase in level.phases for b in phase.see[:, 0]}
        around = -(-shape[1] // (volume.shapes[-1][1] // volume.shapes[k][1]))
        for phase in level.phases:
            for row in phase.see.tolist():
                mine = at[row[0]]
                expected = set()
                for axis, step in itertools.product(range(3), (-1, 1)):
                    other = list(mine)
                    other[axis] += step
                    if polar and axis == 1:
                        other[1] %= around
                    expected.add(tuple(other))
                found = {at[b] for b in row[1:] if 0 < b < volume.stride(k)}
                assert found & blocks == (expected & blocks) - {mine}


def test_places_at_other_angles_share_their_parameters():
    made = cascade(VolumeToy())
    volume = made.pyramid
    for k, level in enumerate(volume.levels):
        at = places(volume, k)
        for phase in level.phases:
            pairs = {(int(n), at[b][0], at[b][2]) for n, b in zip(phase.places, phase.see[:, 0].tolist(), strict=True)}
            assert len(pairs) == len({p[0] for p in pairs}) == len({p[1:] for p in pairs})


def test_every_axis_is_halved_while_blocks_are_few_and_large():
    volume = Volume((45, 16, 9), polar=True)
    assert volume.shapes[3] == (8, 4, 2)
    assert volume.shapes[-1] == (64, 16, 16)
    # Seen whole by all finer levels.
    assert [level.seen[0][0] for level in volume.levels] == [0, 1, 2, 3, 3, 3, 3]


@pytest.mark.parametrize(
    ("shape", "polar", "count"), [((2, 5, 3), True, 10), ((2, 3, 3), False, 8), ((2, 3, 4), False, 4)]
)
def test_showers_are_turned_into_all_orientations_alike(shape, polar, count):
    volume = Volume(shape, polar=polar)
    cells = torch.rand(1, math.prod(shape), generator=torch.Generator().manual_seed(2))
    n = 4000
    uniform = torch.rand(n, 3, generator=torch.Generator().manual_seed(3))
    turned = volume.turned(cells.expand(n, -1), uniform)
    kinds, found = torch.unique(turned, dim=0, return_counts=True)
    assert len(kinds) == count
    # Five standard deviations of a binomial number.
    assert ((found - n / count).abs() < 5 * math.sqrt(n / count)).all()
    whole = turned.view(n, *shape)
    torch.testing.assert_close(whole.sum(dim=(2, 3)), cells.view(1, *shape).sum(dim=(2, 3)).expand(n, -1))
    if polar:
        torch.testing.assert_close(whole.sum(dim=2), cells.view(1, *shape).sum(dim=2).expand(n, -1, -1))
        neighbours = (whole * whole.roll(1, dims=2)).sum(dim=(1, 2, 3))
        torch.testing.assert_close(neighbours, neighbours[:1].expand(n))


@pytest.mark.parametrize("polar", [True, False])
def test_cells_sum_to_the_total_that_was_modelled(polar):
    toy = VolumeToy(polar=polar)
    made = cascade(toy)
    condition = torch.as_tensor(toy.condition(100, 2))
    z = torch.randn(100, made.noise_width, generator=torch.Generator().manual_seed(3))
    total = made.sample(condition, z).sum(dim=1)
    other = z.clone()
    other[:, 2:] = z.flip(0)[:, 2:]
    cells = made.sample(condition, other)
    torch.testing.assert_close(cells.sum(dim=1), total, rtol=1e-5, atol=0)
    assert not torch.equal(cells, made.sample(condition, z))
    # The scale comes from the energy before anything is learned.
    response = total / condition[:, 0]
    assert 0.7 < float(response.median()) < 1.1


def test_an_energy_on_a_linear_scale_is_as_good():
    toy = VolumeToy()
    # A narrow range of energies gets no logarithm.
    sample = toy.sample(2000)
    near = np.flatnonzero((sample["energy"] > 10) & (sample["energy"] < 20))
    made = cascade(toy, sample.take(near))
    assert not bool(made.codec.log_scale[0])
    condition = made.codec.encode_condition(torch.tensor([[12.0]]).double(), torch.zeros(1, dtype=torch.long))
    assert float(made._log_momentum(condition)[0]) == pytest.approx(math.log(12.0), abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("polar", [True, False])
def test_training_learns_profiles_and_the_showers_own_angle(polar):
    toy = VolumeToy((5, 6, 3) if polar else (5, 6, 6), polar=polar)
    sample, test = toy.sample(3000), toy.sample(3000, seed=9)
    made = cascade(toy, sample, core_width=48, components=4)
    train(made, sample, 1000)
    z = torch.randn(len(test), made.noise_width, generator=torch.Generator().manual_seed(3))
    condition = torch.as_tensor(test.condition)
    drawn = made.sample(condition, z).view(-1, *toy.shape).double().numpy()
    truth = np.asarray(test["cells"])
    truth = np.where(truth >= THRESHOLD, truth, 0.0)

    def vector(e: np.ndarray) -> np.ndarray:
        # How far the energy lies to one side, whichever it is: every layer leans to the same.
        _, a, b = toy.shape
        if polar:
            phase = np.exp(2j * np.pi * (np.arange(a) + 0.5) / a)
            return np.abs(e.sum(axis=(1, 3)) @ phase) / e.sum(axis=(1, 2, 3))
        x = e.sum(axis=(1, 3)) @ (np.arange(a) - (a - 1) / 2)
        y = e.sum(axis=(1, 2)) @ (np.arange(b) - (b - 1) / 2)
        return np.hypot(x, y) / e.sum(axis=(1, 2, 3))

    layer = np.arange(toy.shape[0])
    for of in (
        lambda e: e.sum(axis=(1, 2, 3)) / test["energy"],
        lambda e: (e > 0).sum(axis=(1, 2, 3)),
        lambda e: (e.sum(axis=(2, 3)) @ layer) / e.sum(axis=(1, 2, 3)),
        lambda e: e[:, :, :, 0].sum(axis=(1, 2)) / e.sum(axis=(1, 2, 3)),
        vector,
    ):
        a, b = of(truth), of(drawn)
        # Four standard errors of the difference, and room for a short training.
        assert abs(a.mean() - b.mean()) < 4 * math.hypot(a.std(), b.std()) / math.sqrt(len(a)) + 0.1 * a.std()
        assert abs(b.std() / a.std() - 1) < 0.15


def test_the_loss_turns_showers_by_its_draws_alone():
    toy = VolumeToy()
    made = cascade(toy)
    batch = made.encode(toy.sample(20))
    first, again, other = (made.loss("cascade", batch, Draws(i)).events for i in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    plain = cascade(toy, symmetric=False)
    assert torch.equal(*(plain.loss("cascade", batch, Draws(i)).events for i in (1, 2)))


def test_options_that_do_not_fit_are_refused():
    toy = VolumeToy()
    sample = toy.sample(50)
    with pytest.raises(ConfigError, match=r"energy as its only condition.*energy: None; set symmetric: false"):
        cascade(toy, energy=None)
    with pytest.raises(ConfigError, match="energy: E is no condition that is a number; there are energy"):
        cascade(toy, energy="E")
    none = np.asarray(sample["energy"]).copy()
    none[7] = 0.0
    with pytest.raises(DataError, match=r"odd.h5: condition energy, row 7: 0, but an incident energy must be above 0"):
        cascade(toy, Sample(sample.schema, {"energy": none, "cells": sample["cells"]}, source="odd.h5"))
    both = Schema((*sample.schema.condition, Field("slope")), sample.schema.response)
    columns = {"energy": sample["energy"], "slope": np.zeros(50), "cells": sample["cells"]}
    with pytest.raises(ConfigError, match="got conditions energy, slope and energy: energy"):
        cascade(toy, Sample(both, columns))
    assert cascade(toy, Sample(both, columns), symmetric=False).prepared
    flat = Schema(sample.schema.condition, (Field("cells", "GeV", (5, 18)),))
    image = Sample(flat, {"energy": sample["energy"], "cells": sample["cells"].reshape(50, 5, 18)})
    with pytest.raises(ConfigError, match=r"polar: that is for volumes \(layers, angles, radii\)"):
        cascade(toy, image, symmetric=False)
    deep = Schema(sample.schema.condition, (Field("cells", "GeV", (5, 3, 3, 2)),))
    with pytest.raises(ConfigError, match=r"one volume of shape \(layers, rows, columns\), got response fields of"):
        cascade(toy, Sample(deep, {"energy": sample["energy"], "cells": sample["cells"].reshape(50, 5, 3, 3, 2)}))
