"""Rows as vectors: the features that multivariate metrics compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from parhelion.errors import ConfigError, DataError
from parhelion.evaluation.samples.binning import weighted_quantile
from parhelion.sample import Field, Sample

FloatArray = npt.NDArray[np.float64]
Scaling = Literal["standard", "robust", "max", "none"]


@dataclass(frozen=True)
class Features:
    """Which features, and in which units.

    Attributes
    ----------
    names
        One name a column; ``pid = K`` for the indicator of a category, ``cells[3]`` for an entry of a vector.
    fields
        The fields that the columns are made of, in their order.
    shift, scale
        What is subtracted from each column, and what it is divided by then; shape (d,), from the reference alone.
    """

    names: tuple[str, ...]
    fields: tuple[Field, ...]
    shift: FloatArray
    scale: FloatArray

    def of(self, sample: Sample) -> FloatArray:
        """Scaled features of a sample, shape (n, d), no unit."""
        found: FloatArray = (_columns(sample, self.fields) - self.shift) / self.scale
        return found


def choose_features(
    reference: Sample, metric: str, *, fields: tuple[str, ...] = (), conditions: bool = True, scaling: Scaling
) -> Features:
    """Choose features, and scale them by the reference.

    Parameters
    ----------
    reference
        Signed weights enter mean, variance and quantiles.
    metric
        Its name, for messages.
    fields
        Names of fields; all responses if empty.
    conditions
        Whether all conditions are features too.
    scaling
        ``standard`` (mean and standard deviation), ``robust`` (median and half the distance of the quantiles 0.16 and
        0.84), ``max`` (largest absolute value, as the published Frechet physics distance has it; no shift), ``none``.
        Indicators of categories are not scaled. A constant feature is divided by 1.

    Raises
    ------
    ConfigError
        A field does not exist.
    DataError
        There are no features.
    """
    schema = reference.schema
    known = {f.name: f for f in schema.fields}
    for name in fields:
        if name not in known:
            msg = f"metric {metric}: no field {name}; there are {', '.join(known)}"
            raise ConfigError(msg)
    chosen = tuple(known[name] for name in fields) or schema.response
    if conditions:
        chosen = tuple(f for f in schema.condition if f not in chosen) + chosen
    names = tuple(name for field in chosen for name in _names(field))
    if not names:
        msg = f"metric {metric}: {reference.source} has no responses or conditions to compare; declare some"
        raise DataError(msg)
    matrix, weight = _columns(reference, chosen), reference.weight
    shift, scale = np.zeros(len(names)), np.ones(len(names))
    numbers = np.array([field.kind != "category" for field in chosen for _ in _names(field)], dtype=bool)
    if scaling == "standard":
        mean = weight @ matrix / np.sum(weight)
        shift, scale = mean, np.sqrt(np.maximum(weight @ (matrix - mean) ** 2 / np.sum(weight), 0.0))
    elif scaling == "robust":
        low, shift, high = np.array([weighted_quantile(c, weight, [0.16, 0.5, 0.84]) for c in matrix.T]).T
        scale = (high - low) / 2
    elif scaling == "max":
        scale = np.abs(matrix).max(axis=0, initial=0.0)
    usable = numbers & np.isfinite(scale) & (scale > 1e-12 * np.maximum(np.abs(shift), 1e-300))
    return Features(names, chosen, np.where(numbers, shift, 0.0), np.where(usable, scale, 1.0))


def _names(field: Field) -> list[str]:
    if field.kind == "category":
        return [f"{field.name} = {field.label_of(code)}" for code in field.values]
    return [field.name] if field.width == 1 else [f"{field.name}[{i}]" for i in range(field.width)]


def _columns(sample: Sample, fields: tuple[Field, ...]) -> FloatArray:
    parts = []
    for field in fields:
        values = sample.columns[field.name].astype(np.float64).reshape(len(sample), field.width)
        parts.append((values == np.asarray(field.values)).astype(np.float64) if field.kind == "category" else values)
    return np.concatenate(parts, axis=1) if parts else np.empty((len(sample), 0))
