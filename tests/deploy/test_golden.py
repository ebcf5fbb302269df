"""The golden block holds rows that prove something."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from parhelion.deploy.models import SurrogateModel
from parhelion.deploy.trial import golden_block
from parhelion.sample import Field, Schema


class Wave(nn.Module):
    """sin(w c) + z: where w c is large, the rounding of w decides the answer."""

    prepared = True
    noise_width = 1
    schema = Schema((Field("c"),), (Field("y"),))

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([[1.0]]))

    def sample(self, condition: Tensor, noise: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.sin(condition.float() @ self.w) + noise


def test_rows_that_rounding_decides_are_left_out_and_others_take_their_place():
    model = SurrogateModel(Wave())
    far = np.linspace(1e4, 2e4, 64)[:, None]
    near = np.linspace(-1.0, 1.0, 500)[:, None]
    golden = golden_block(model, far, near, np.ones(1))
    assert len(golden.condition) == 64
    # One in a hundred far rows is at the top of a wave, where nothing changes.
    assert (np.abs(golden.condition) <= 1.0).mean() > 0.9
    np.testing.assert_array_equal(model.respond(golden.condition, golden.noise), golden.response)
