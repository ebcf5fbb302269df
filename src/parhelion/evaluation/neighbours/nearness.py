"""Which of two samples lies nearer to something: near shares and ranks of distances, with signed weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parhelion.evaluation.samples.binning import weighted_quantile
from parhelion.evaluation.statistics.auc import placements

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class NearShare:
    """How much of the generated sample is nearer to training rows than a quantile of the reference.

    Attributes
    ----------
    copying
        Share of the generated weight at or below the threshold, over the reference's; 1 where nothing is copied.
    threshold
        The quantile of the reference's distances.
    reference, generated
        The two shares.
    reference_null, generated_null
        Influence of each row where the samples do not differ, shapes (n,) and (m,).
    reference_influence, generated_influence
        The same where they do: a step of the threshold moves the generated share by the ratio of the densities there.
    """

    copying: float
    threshold: float
    reference: float
    generated: float
    reference_null: FloatArray
    generated_null: FloatArray
    reference_influence: FloatArray
    generated_influence: FloatArray


def near_share(
    reference: FloatArray,
    generated: FloatArray,
    reference_weight: FloatArray,
    generated_weight: FloatArray,
    level: float = 0.01,
    floor: float = 0.0,
) -> NearShare:
    """Share of generated rows nearer than a quantile of the reference, in units of the reference's own share.

    Parameters
    ----------
    reference, generated
        Distances to the nearest training row (or their ratios), shapes (n,) and (m,).
    reference_weight, generated_weight
        Signed weights of positive sum, same shapes.
    level
        Probability of the quantile.
    floor
        Smallest threshold. Rows at the threshold count on both sides, so equal distances cancel.
    """
    w, v = reference_weight / np.sum(reference_weight), generated_weight / np.sum(generated_weight)
    below, threshold, above = np.maximum(
        weighted_quantile(reference, reference_weight, [0.5 * level, level, min(1.5 * level, 1.0)]), floor
    )
    ours, theirs = reference <= threshold, generated <= threshold
    share = float(w @ ours)
    # The quantile of signed weights is where the share first reaches the level; below the floor it may not.
    share = share if share > 0.1 * level else level
    found = float(v @ theirs)
    mass = float(w @ ((reference > below) & (reference <= above)))
    steps = float(v @ ((generated > below) & (generated <= above)))
    slope = max(steps, 0.0) / mass if mass > 0.1 * level else 1.0
    own, other = w * (ours - share) / share, v * (theirs - found) / share
    # Where the threshold is the floor it does not move, and the reference enters by its share alone.
    lever = slope if threshold > floor else found / share
    return NearShare(found / share, float(threshold), share, found, own, other, lever * own, other)


@dataclass(frozen=True)
class RankTest:
    """Mann-Whitney test of distances.

    Attributes
    ----------
    auc
        Probability that a generated row's distance is larger than a reference row's, ties half.
    reference_null, generated_null
        Influence of each row on `auc` where the samples do not differ, shapes (n,) and (m,): relative weight times
        pooled mid-rank minus 1/2. For independent rows of weight 1 their squares sum to (1/n + 1/m)/12, the
        classical variance.
    reference_influence, generated_influence
        The same where they do, from the placements (DeLong, DeLong & Clarke-Pearson 1988).
    """

    auc: float
    reference_null: FloatArray
    generated_null: FloatArray
    reference_influence: FloatArray
    generated_influence: FloatArray


def rank_test(
    reference: FloatArray, generated: FloatArray, reference_weight: FloatArray, generated_weight: FloatArray
) -> RankTest:
    """Mann-Whitney statistic for signed weights.

    Parameters
    ----------
    reference, generated
        Distances, shapes (n,) and (m,).
    reference_weight, generated_weight
        Signed weights of positive sum, same shapes.
    """
    placed = placements(generated, reference, generated_weight, reference_weight)
    w, v = placed.negative_weight, placed.positive_weight
    own_below = placements(reference, reference, w, w).positive
    their_below = placements(generated, generated, v, v).positive
    ours = 0.5 * (own_below + 1.0 - placed.negative)
    theirs = 0.5 * (their_below + placed.positive)
    of_generated, of_reference = placed.influence
    return RankTest(placed.auc, w * (ours - 0.5), v * (theirs - 0.5), of_reference, of_generated)
