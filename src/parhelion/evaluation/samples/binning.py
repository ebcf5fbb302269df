"""Bins, categories and columns, as the options of metrics name them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from parhelion.errors import ConfigError, DataError
from parhelion.sample import Field, Sample

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def weighted_quantile(values: FloatArray, weight: FloatArray, q: npt.ArrayLike) -> FloatArray:
    """Quantiles of a sample with signed weights.

    Parameters
    ----------
    values, weight
        Shape (n,). The cumulative distribution of signed weights is not monotone; its running maximum is inverted.
    q
        Probabilities in [0, 1], shape (k,).

    Returns
    -------
    ndarray
        Values that occur in the sample, shape (k,).
    """
    order = np.argsort(values, kind="stable")
    cumulative = np.maximum.accumulate(np.cumsum(weight[order]) / np.sum(weight))
    index = np.searchsorted(cumulative, np.asarray(q, dtype=np.float64) * cumulative[-1], side="left")
    found: FloatArray = values[order][np.minimum(index, len(values) - 1)]
    return found


def scalar(sample: Sample, name: str, metric: str) -> tuple[Field, FloatArray]:
    """Field and values, shape (n,), of a scalar field.

    Raises
    ------
    ConfigError
        There is no such field, or it is a vector or an image.
    """
    known = {f.name: f for f in sample.schema.fields}
    if name not in known:
        msg = f"metric {metric}: no field {name}; there are {', '.join(known)}"
        raise ConfigError(msg)
    if known[name].shape:
        msg = (
            f"metric {metric}: field {name} has shape {known[name].shape}, expected a scalar; "
            "add an observable computed from it as an extra field"
        )
        raise ConfigError(msg)
    return known[name], sample.columns[name].astype(np.float64)


def require_category(field: Field, metric: str) -> None:
    """Refuse a field that is no category.

    Raises
    ------
    ConfigError
        The field is continuous or an integer.
    """
    if field.kind != "category":
        msg = f"metric {metric}: field {field.name} is {field.kind}, expected a category"
        raise ConfigError(msg)


def category_code(field: Field, wanted: str | float, metric: str) -> float:
    """Code of a category given by its label or by the code itself.

    Raises
    ------
    ConfigError
        The field is not a category or has no such value.
    """
    require_category(field, metric)
    for code in field.values:
        if str(wanted) in (field.label_of(code), f"{code:g}"):
            return code
    labels = ", ".join(field.label_of(code) for code in field.values)
    msg = f"metric {metric}: {field.name} has no value {wanted}; choose one of {labels}"
    raise ConfigError(msg)


def make_edges(values: FloatArray, weight: FloatArray, edges: tuple[float, ...], bins: int, metric: str) -> FloatArray:
    """Bin edges: the given ones, or those of `bins` bins with equal weight in the reference.

    Equal values (an atom) can make several quantiles coincide; such bins are joined.

    Raises
    ------
    ConfigError
        Given edges do not increase, or fewer than two.
    """
    if edges:
        given = np.asarray(edges, dtype=np.float64)
        if len(given) < 2 or not np.all(np.diff(given) > 0):
            msg = f"metric {metric}: edges {list(edges)} do not increase, expected at least two increasing numbers"
            raise ConfigError(msg)
        return given
    found = np.unique(weighted_quantile(values, weight, np.linspace(0, 1, bins + 1)))
    # The last bin excludes its upper edge, as all bins do; the largest value must still be inside.
    found[-1] = np.nextafter(found[-1], np.inf)
    if len(found) < 2:
        found = np.array([found[0] - 0.5, found[0] + 0.5])
    return found


def bin_index(values: FloatArray, edges: FloatArray) -> IntArray:
    """Bin of each value, shape (n,): 0 to B - 1 inside, -1 below, B at and above the last edge."""
    return np.searchsorted(edges, values, side="right") - 1


def require_rows(count: int, metric: str, on: str) -> None:
    """Refuse to compare nothing.

    Raises
    ------
    DataError
        No rows are left.
    """
    if count == 0:
        msg = f"metric {metric}: no rows for {on}; check the categories and the selection"
        raise DataError(msg)
