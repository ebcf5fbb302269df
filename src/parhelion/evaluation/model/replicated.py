"""What independent trainings on samples of one size find on average: amplification and exceedances, with errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from parhelion.errors import DataError
from parhelion.evaluation.model.amplification import Amplification, amplification_from, quantile_mse, sampling_mse
from parhelion.evaluation.model.quantile_cells import NestedQuantiles, unit_cells
from parhelion.evaluation.results.result import MetricResult, Quantity

FloatArray = npt.NDArray[np.float64]

NAME = "replicas"
# Exceedances are drawn down to where this many events of the truth are left.
_LEAST_EVENTS = 10
_CURVE_POINTS = 60
_CURVE_FROM = 0.3


@dataclass(frozen=True)
class Deviations:
    """Deviations from cells of equal true probability, one training at a time.

    Attributes
    ----------
    splits
        Parts of each coordinate, an entry a number of cells.
    generated
        Numbers of generated events.
    holdout
        True events (h, d) that give the cells; None if events come in the unit cube of the truth.
    """

    splits: tuple[tuple[int, ...], ...]
    generated: tuple[int, ...]
    holdout: FloatArray | None = None

    def measure(self, events: npt.ArrayLike) -> list[list[tuple[float, float]]]:
        """`quantile_mse` of the first events (n, d) of one training: by splits, then by number of events."""
        found = []
        for parts in self.splits:
            cell = (
                unit_cells(events, parts)
                if self.holdout is None
                else NestedQuantiles.of(self.holdout, parts).cell(events)
            )
            found.append([quantile_mse(cell[:n], int(np.prod(parts))) for n in self.generated])
        return found

    def combined(self, measured: Sequence[Any], training: int) -> list[Amplification]:
        """Amplification from what `measure` found in each training: for each of `splits`, each of `generated`."""
        found = np.asarray(measured, dtype=np.float64)
        size = None if self.holdout is None else len(self.holdout)
        return [
            amplification_from(found[:, i, j], int(np.prod(parts)), training, generated=n, holdout=size)
            for i, parts in enumerate(self.splits)
            for j, n in enumerate(self.generated)
        ]


def amplification_result(
    rival: str, deviations: Deviations, measured: Sequence[Any], training: int, *, seconds: float
) -> MetricResult:
    """What a rival's events are worth, averaged over trainings.

    Parameters
    ----------
    rival
        Its name.
    deviations, measured
        What was measured, and what was found in each training, at least two.
    training
        Events of each training sample.
    seconds
        Mean processor time of a training with generation.

    Returns
    -------
    MetricResult
        Quantities, one a number of cells N: ``factor_N``, the amplification factor of the largest number of generated
        events (main: of the first of `splits`). Its null is what the training sample itself is worth, 1; the null
        error is the scatter of a mean over as many training samples. Details: ``rival``, ``training``, ``replicas``,
        ``seconds``, and a list ``curves``: for each number of cells ``cells``, ``parts``, ``generated``, ``mse``,
        ``mse_error``, ``factor``, ``factor_error``, ``limit``, ``limit_error``, ``true_mse`` (of as many true events),
        ``training_mse``.
    """
    found = deviations.combined(measured, training)
    per = len(deviations.generated)
    curves, quantities = [], {}
    for i, parts in enumerate(deviations.splits):
        curve = found[i * per : (i + 1) * per]
        last, cells = max(curve, key=lambda a: a.generated), curve[0].cells
        spread = float(np.sqrt(2 / (max(cells - 1, 1) * len(measured))))
        factor, error = last.factor, last.factor_error
        p_value = None
        if error > 0:
            p_value = float(2 * student.sf(abs(np.log(factor)) * factor / error, len(measured) - 1))
        quantities[f"factor_{cells}"] = Quantity(factor, error, 1.0, spread, p_value)
        curves.append(
            {
                "cells": cells,
                "parts": list(parts),
                **{
                    key: [getattr(a, key) for a in curve]
                    for key in ("generated", "mse", "mse_error", "factor", "factor_error", "limit", "limit_error")
                },
                "true_mse": [sampling_mse(cells, a.generated) for a in curve],
                "training_mse": sampling_mse(cells, training),
            }
        )
    return MetricResult(
        name=NAME,
        on=f"amplification, {rival}",
        main=next(iter(quantities)),
        quantities=quantities,
        details={
            "kind": "amplification",
            "rival": rival,
            "training": training,
            "replicas": len(measured),
            "seconds": seconds,
            "curves": curves,
        },
    )


@dataclass(frozen=True)
class Exceedance:
    """Exceedances of one number an event, one training at a time.

    Attributes
    ----------
    levels
        Probabilities of the truth at the thresholds.
    thresholds
        Where the truth falls to `levels`.
    at, truth
        Thresholds of a curve, and the truth's exceedances there.
    events
        Number of true events behind these.
    """

    levels: tuple[float, ...]
    thresholds: FloatArray
    at: FloatArray
    truth: FloatArray
    events: int

    @classmethod
    def of(cls, true: npt.ArrayLike, levels: Sequence[float]) -> Exceedance:
        """Find the thresholds from true events, shape (n,).

        Raises
        ------
        DataError
            Too few true events are left at the rarest level.
        """
        ordered = np.sort(np.asarray(true, dtype=np.float64))
        n = len(ordered)
        if min(levels) * n < _LEAST_EVENTS:
            msg = (
                f"exceedance: {min(levels):g} of {n:,} true events are {min(levels) * n:g}, expected at least "
                f"{_LEAST_EVENTS}; use a larger test sample or no level that rare"
            )
            raise DataError(msg)

        def beyond(share: npt.ArrayLike) -> FloatArray:
            return ordered[np.clip(n - 1 - np.round(np.asarray(share) * n).astype(np.int64), 0, n - 1)]

        at = np.unique(beyond(np.geomspace(_CURVE_FROM, _LEAST_EVENTS / n, _CURVE_POINTS)))
        return cls(tuple(levels), beyond(levels), at, _beyond(ordered, at), n)

    def measure(self, generated: npt.ArrayLike, training: npt.ArrayLike) -> dict[str, Any]:
        """Exceedances of generated numbers (m,) at `thresholds` and `at`, and beyond the last training event.

        Parameters
        ----------
        generated, training
            One number an event, shapes (m,) and (n,).
        """
        ordered = np.sort(np.asarray(generated, dtype=np.float64))
        last = float(np.max(training))
        return {
            "levels": _beyond(ordered, self.thresholds).tolist(),
            "curve": _beyond(ordered, self.at).tolist(),
            "last": last,
            "beyond_last": float(_beyond(ordered, np.array([last]))[0]),
        }


def _beyond(ordered: FloatArray, at: FloatArray) -> FloatArray:
    return 1.0 - np.searchsorted(ordered, at, side="right") / len(ordered)


def exceedance_result(
    rival: str,
    exceedance: Exceedance,
    measured: Sequence[Mapping[str, Any]],
    *,
    name: str,
    training: int,
    rows: int,
    seconds: float,
) -> MetricResult:
    """How a rival's exceedances stand to the truth, averaged over trainings.

    Parameters
    ----------
    rival
        Its name.
    exceedance, measured
        What was measured, and what was found in each training, at least two.
    name
        Title of the number.
    training, rows
        Events of each training sample, and events generated from it.
    seconds
        Mean processor time of a training with generation.

    Returns
    -------
    MetricResult
        Quantities, one a level: ``ratio_LEVEL``, mean exceedance over the level (main: the rarest level), whose null is
        1, with the error of as many true events in each training against the test sample. Details: ``rival``,
        ``title``, ``training``, ``generated``, ``events`` (true ones), ``replicas``, ``seconds``, ``levels``,
        ``thresholds``, ``ratio``, ``ratio_error``, ``at``, ``truth``, ``curve``, ``curve_error``, ``last`` (median
        last training event), ``beyond_last`` (mean exceedance there).
    """
    count = len(measured)
    ratio = np.array([m["levels"] for m in measured]) / np.array(exceedance.levels)
    curve = np.array([m["curve"] for m in measured])
    error, curve_error = (v.std(axis=0, ddof=1) / np.sqrt(count) for v in (ratio, curve))
    quantities = {}
    for level, value, spread in zip(exceedance.levels, ratio.mean(axis=0), error, strict=True):
        null = float(np.sqrt(1 / (level * rows * count) + 1 / (level * exceedance.events)))
        total = float(np.hypot(spread, null))
        p_value = float(2 * student.sf(abs(value - 1) / total, count - 1))
        quantities[f"ratio_{level:g}"] = Quantity(float(value), total, 1.0, null, p_value)
    return MetricResult(
        name=NAME,
        on=f"exceedance, {rival}",
        main=f"ratio_{min(exceedance.levels):g}",
        quantities=quantities,
        details={
            "kind": "exceedance",
            "rival": rival,
            "title": name,
            "training": training,
            "generated": rows,
            "events": exceedance.events,
            "replicas": count,
            "seconds": seconds,
            "levels": exceedance.levels,
            "thresholds": exceedance.thresholds,
            "ratio": ratio.mean(axis=0),
            "ratio_error": error,
            "at": exceedance.at,
            "truth": exceedance.truth,
            "curve": curve.mean(axis=0),
            "curve_error": curve_error,
            "last": float(np.median([m["last"] for m in measured])),
            "beyond_last": float(np.mean([m["beyond_last"] for m in measured])),
        },
    )
