"""Auxiliary terms of the generator's loss."""

from __future__ import annotations

import torch

from parhelion.surrogates.objectives import AUXILIARY, Scene, voice


def scene(fake, condition):
    return Scene(torch.zeros_like(fake), fake, condition, torch.ones_like(fake), fake)


def test_registry_names_are_the_kinds():
    assert all(AUXILIARY[name]().kind == name for name in AUXILIARY)


def test_terms_are_per_event():
    generator = torch.Generator().manual_seed(0)
    fake, condition = torch.randn(6, 2, generator=generator), torch.randn(6, 3, generator=generator)
    for name in AUXILIARY:
        assert AUXILIARY[name]().make(2, 3).events(scene(fake, condition)).shape == (6,)


def test_regressor_is_zero_where_it_reads_the_condition_exactly():
    term = AUXILIARY["regressor"]().make(2, 2)
    term.regressor = torch.nn.Identity()
    x = torch.tensor([[0.5, -2.0], [1.0, 1.0]])
    torch.testing.assert_close(term.events(scene(x, x)), torch.zeros(2))
    # Huber: 0.5 e^2 below 1, e - 0.5 above; mean over the two features.
    away = scene(x, x + torch.tensor([[0.5, 3.0], [0.0, 0.0]]))
    torch.testing.assert_close(term.events(away), torch.tensor([(0.125 + 2.5) / 2, 0.0]))


def test_a_learning_term_is_silent():
    term = AUXILIARY["regressor"].model_validate({"learning_steps": 10}).make(1, 1)
    assert [float(voice(term, torch.tensor(t))) for t in (0, 9, 10)] == [0.0, 0.0, 1.0]
    assert float(voice(AUXILIARY["pulling_away"]().make(1, 1), torch.tensor(0))) == 1.0
