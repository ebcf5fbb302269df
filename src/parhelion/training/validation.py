"""Validation metrics that fit every surrogate: the loss on held-out rows, and a sliced energy distance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from parhelion import noise
from parhelion.errors import DataError
from parhelion.sample import Sample
from parhelion.surrogates.base import Draws, Surrogate
from parhelion.training.table import TrainingTable, stream_seed, validation_seed

_ROWS = 4096
_CHOICE = 3
_TINY, _LEAST = 1e-6, 0.1


def choose_rows(sample: Sample, rows: int, seed: int) -> Sample:
    """At most `rows` rows of a sample, chosen by a seeded permutation.

    Raises
    ------
    DataError
        There are fewer than two rows, or the sum of the chosen weights is not positive.
    """
    if len(sample) < 2:
        msg = f"{sample.source}: validation needs at least 2 rows, got {len(sample)}"
        raise DataError(msg)
    order = np.random.default_rng(stream_seed(seed, _CHOICE)).permutation(len(sample))[:rows]
    chosen = sample.take(np.sort(order))
    chosen.require_positive_total()
    return chosen


class ValidationLoss:
    """Weighted mean loss of one player over validation rows, with the same draws each time.

    Parameters
    ----------
    surrogate
        Prepared; it encodes the rows.
    sample
        Validation rows with signed weights.
    player
        Whose loss.
    seed
        Seed of the draws.
    """

    def __init__(self, surrogate: Surrogate, sample: Sample, *, player: str, seed: int) -> None:
        self.player, self.seed = player, validation_seed(seed)
        self.table = TrainingTable.from_chunks([sample], surrogate, rows=len(sample))

    @torch.no_grad()
    def __call__(self, surrogate: Surrogate) -> float:
        """Loss of the surrogate as it stands."""
        device = _device(surrogate)
        draws = Draws(self.seed, device=device)
        total = torch.zeros((), dtype=torch.float64, device=device)
        for start in range(0, len(self.table), _ROWS):
            batch = self.table.batch(slice(start, start + _ROWS), device)
            loss = surrogate.loss(self.player, batch, draws)
            total += (batch.weight.double() * loss.events.double()).sum()
            if loss.penalty is not None:
                total += loss.penalty * len(batch)
        return float(total) / len(self.table)


class SlicedEnergy:
    """Sliced energy distance between generated and reference rows, jointly with their conditions, in network space.

    The validation rows are cut in two halves A and B. Responses are generated for the conditions of B, with fixed
    noise, and compared with A; the null is the distance between A and the true B. Each direction has a part in the
    responses and a part of the same length in the encoded conditions, so that a wide condition cannot drown a narrow
    response. Lower is better, and a perfect surrogate comes to the null within its error.

    Parameters
    ----------
    surrogate
        Prepared; it encodes the rows.
    sample
        Validation rows with signed weights.
    seed
        Seed of noise, halves and directions.
    directions
        Number of random directions.

    Attributes
    ----------
    null
        Distance between the two halves of the reference.
    """

    def __init__(self, surrogate: Surrogate, sample: Sample, *, seed: int, directions: int = 64) -> None:
        self.seed = validation_seed(seed)
        order = np.random.default_rng(self.seed).permutation(len(sample))
        batch = surrogate.encode(sample)
        half = len(sample) // 2
        a, b = torch.as_tensor(order[:half]), torch.as_tensor(order[half:])
        # A family may put more beside the response; only the response itself is generated.
        response = batch.response[:, : sample.schema.response_width]
        joint = torch.cat([response, batch.condition], dim=1)
        self.scale = scales(joint, [f.width for f in sample.schema.response])
        generator = torch.Generator().manual_seed(self.seed)
        parts = [
            torch.nn.functional.normalize(torch.randn(directions, width, generator=generator), dim=1)
            for width in (response.shape[1], batch.condition.shape[1])
        ]
        self.directions = torch.cat(parts, dim=1)
        self.reference, self.reference_weight = self._project(joint[a]), batch.weight[a].double()
        self.condition, self.active, self.weight = batch.condition[b], batch.active[b], batch.weight[b].double()
        self.noise = torch.as_tensor(noise.normal(self.seed, sample.event_id[b.numpy()], surrogate.noise_features))
        for weight in (self.reference_weight, self.weight):
            if not float(weight.sum()) > 0:
                msg = f"{sample.source}: half of the validation rows has no positive sum of weights; use more rows"
                raise DataError(msg)
        self.null = sliced_energy(self._project(joint[b]), self.weight, self.reference, self.reference_weight)

    def _project(self, joint: Tensor) -> Tensor:
        return (joint / self.scale) @ self.directions.T

    @torch.no_grad()
    def __call__(self, surrogate: Surrogate) -> float:
        """Distance of the surrogate as it stands."""
        device = _device(surrogate)
        parts = [
            surrogate.generate(c.to(device), z.to(device)).cpu()
            for c, z in zip(torch.split(self.condition, _ROWS), torch.split(self.noise, _ROWS), strict=True)
        ]
        response = torch.where(self.active, torch.cat(parts), 0.0)
        generated = self._project(torch.cat([response, self.condition], dim=1))
        return sliced_energy(generated, self.weight, self.reference, self.reference_weight)


def scales(joint: Tensor, widths: Sequence[int]) -> Tensor:
    """Units of columns (n, k): standard deviations, of cells at least a tenth of the average over their field.

    A cell that is empty in nearly all validation rows would have a unit near 0, and one hit there would weigh more than
    all else together. The average is the root of the mean square.

    Parameters
    ----------
    joint
        Responses, then conditions.
    widths
        Columns of each field of the response.
    """
    spread = joint.std(dim=0).clamp(min=_TINY)
    fields = torch.split(spread[: sum(widths)], list(widths))
    units = [field.clamp(min=float(_LEAST * field.square().mean().sqrt())) for field in fields]
    return torch.cat([*units, spread[sum(widths) :]])


def sliced_energy(x: Tensor, x_weight: Tensor, y: Tensor, y_weight: Tensor) -> float:
    """Mean over directions of the one-dimensional energy distance between two weighted samples.

    In one dimension it is 2 * integral (F(t) - G(t))^2 dt with the weighted distribution functions F and G
    (Szekely, Rizzo, J. Stat. Plan. Inference 143 (2013) 1249, section 2), which signed weights do not disturb.

    Parameters
    ----------
    x, y
        Projections, shapes (n, k) and (m, k).
    x_weight, y_weight
        Signed weights, shapes (n,) and (m,), each with a positive sum.
    """
    values, order = torch.sort(torch.cat([x, y]).T.contiguous(), dim=1)
    mass = torch.cat([x_weight / x_weight.sum(), -y_weight / y_weight.sum()])
    difference = torch.cumsum(mass[order], dim=1)[:, :-1]
    return float(2.0 * (difference**2 * values.double().diff(dim=1)).sum(dim=1).mean())


def _device(surrogate: Surrogate) -> torch.device:
    return next(surrogate.parameters()).device
