"""Objectives of a critic that gives one score: Jensen-Shannon, least squares, Wasserstein."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import softplus

from parhelion.surrogates.objectives.base import Judged, Objective, PenaltyKind


def jensen_shannon_critic(real: Tensor, fake: Tensor) -> Tensor:
    """-log D(x) - log(1 - D(g)) with D the sigmoid of the score (arXiv:1406.2661, equation 1).

    Scores of any one shape (b,); losses (b,). For an optimal critic the mean is 2 log 2 - 2 JS(p, q).
    """
    return softplus(-real) + softplus(fake)


def jensen_shannon_generator(fake: Tensor, *, saturating: bool) -> Tensor:
    """Generator's loss on scores (b,) of fakes (arXiv:1406.2661).

    Saturating: log(1 - D(g)), equation 1. Otherwise -log D(g), end of section 3: same fixed point, larger gradient
    where the critic wins.
    """
    return -softplus(fake) if saturating else softplus(-fake)


def least_squares(score: Tensor, label: float) -> Tensor:
    """(D - label)^2 / 2 of scores (b,) (arXiv:1611.04076, equation 2)."""
    return 0.5 * (score - label).square()


def wasserstein_critic(real: Tensor, fake: Tensor) -> Tensor:
    """D(g) - D(x) of scores (b,) (arXiv:1701.07875, equation 3); minus its mean bounds the distance from below."""
    return fake - real


def wasserstein_generator(fake: Tensor) -> Tensor:
    """-D(g) of scores (b,) (arXiv:1701.07875, theorem 3)."""
    return -fake


class JensenShannon(Objective):
    """Jensen-Shannon GAN (arXiv:1406.2661).

    Attributes
    ----------
    saturating
        Let the generator minimise log(1 - D), the game of equation 1, instead of maximising log D.
    """

    penalties: ClassVar[tuple[PenaltyKind, ...]] = ("r1", "none", "gradient", "logit_gradient")

    kind: Literal["jensen_shannon"] = "jensen_shannon"
    saturating: bool = False

    def critic_events(self, real: Judged, fakes: Sequence[Judged]) -> Tensor:
        """Cross-entropy of real against generated."""
        return jensen_shannon_critic(real.value[:, 0], fakes[0].value[:, 0])

    def generator_events(self, real: Judged | None, fakes: Sequence[Judged]) -> Tensor:
        """Saturating or non-saturating loss."""
        return jensen_shannon_generator(fakes[0].value[:, 0], saturating=self.saturating)


class LeastSquares(Objective):
    """Least-squares GAN (arXiv:1611.04076, equation 9: labels 1 and 0, and 1 for the generator).

    Attributes
    ----------
    real_label, fake_label
        Scores that the critic aims at (b and a in the paper).
    generator_label
        Score that the generator aims at (c in the paper); 1, -1 and 0 for the three make it Pearson's chi2
        divergence (equation 8), whose generator slows down as the scores come near 0.
    """

    penalties: ClassVar[tuple[PenaltyKind, ...]] = ("r1", "none", "gradient")

    kind: Literal["least_squares"] = "least_squares"
    real_label: float = 1.0
    fake_label: float = 0.0
    generator_label: float = 1.0

    def critic_events(self, real: Judged, fakes: Sequence[Judged]) -> Tensor:
        """Squared distances to the labels."""
        fake = least_squares(fakes[0].value[:, 0], self.fake_label)
        return least_squares(real.value[:, 0], self.real_label) + fake

    def generator_events(self, real: Judged | None, fakes: Sequence[Judged]) -> Tensor:
        """Squared distance to the generator's label."""
        return least_squares(fakes[0].value[:, 0], self.generator_label)


class _ScoreDifference(Objective):
    """What both Wasserstein objectives share."""

    def critic_events(self, real: Judged, fakes: Sequence[Judged]) -> Tensor:
        """Difference of the scores."""
        return wasserstein_critic(real.value[:, 0], fakes[0].value[:, 0])

    def generator_events(self, real: Judged | None, fakes: Sequence[Judged]) -> Tensor:
        """Minus the score."""
        return wasserstein_generator(fakes[0].value[:, 0])


class Wasserstein(_ScoreDifference):
    """Wasserstein GAN whose critic is held near slope 1 by a penalty (arXiv:1704.00028, equation 3).

    In one or two dimensions the default coefficient of 10 keeps the critic from flattening as the generator
    converges: take 0.1, as the paper does for its toys, or the one-sided penalty.
    """

    penalties: ClassVar[tuple[PenaltyKind, ...]] = ("gradient", "r1")

    kind: Literal["wasserstein"] = "wasserstein"


class WassersteinClipping(_ScoreDifference):
    """Wasserstein GAN whose critic's weights are clipped (arXiv:1701.07875, algorithm 1).

    Attributes
    ----------
    clip
        Largest absolute value of a weight or bias of the critic.
    """

    penalties: ClassVar[tuple[PenaltyKind, ...]] = ("none",)

    kind: Literal["wasserstein_clipping"] = "wasserstein_clipping"
    clip: float = Field(0.01, gt=0)

    @torch.no_grad()
    def project(self, critic: nn.Module) -> None:
        """Clip every parameter."""
        for parameter in critic.parameters():
            parameter.clamp_(-self.clip, self.clip)
