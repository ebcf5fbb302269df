"""Any metric on plain arrays, without files or schemas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from parhelion.errors import ConfigError, DataError, ShapeError
from parhelion.evaluation.evaluating import evaluate
from parhelion.evaluation.registry import METRICS
from parhelion.evaluation.results.result import MetricResult
from parhelion.sample import Field, Sample, Schema

Array = npt.NDArray[Any]

# Event ids of y where its rows do not belong to those of x.
_APART = 1 << 40


def compare_arrays(
    metric: str,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    x_weight: npt.ArrayLike | None = None,
    y_weight: npt.ArrayLike | None = None,
    x_condition: npt.ArrayLike | None = None,
    y_condition: npt.ArrayLike | None = None,
    names: Sequence[str] | None = None,
    condition_names: Sequence[str] | None = None,
    categories: Sequence[str] = (),
    options: Any = None,
    seed: int = 1,
    train: npt.ArrayLike | None = None,
    train_condition: npt.ArrayLike | None = None,
) -> list[MetricResult]:
    """Compute one metric of the registry between two arrays.

    Rows are independent. If both samples have conditions and these are equal row by row, the rows are compared in
    pairs: row i of y was generated at the condition of row i of x. Otherwise the samples are independent.

    Parameters
    ----------
    metric
        Key of `parhelion.evaluation.METRICS`.
    x, y
        Responses of reference and generated sample, shapes (n,) or (n, d), and (m,) or (m, d).
    x_weight, y_weight
        Signed weights with positive sums, shapes (n,) and (m,); ones if not given. Paired rows share those of x if
        y has none.
    x_condition, y_condition
        Conditions, shapes (n,) or (n, c), and (m,) or (m, c); both or neither.
    names, condition_names
        Names of the columns, by which options call them; ``x`` or ``x0``, ``x1``, ... and ``c`` or ``c0``, ``c1``, ...
        if not given.
    categories
        Names of condition columns that hold codes of categories; options name their values by these codes.
    options
        Options of the metric, its dataclass or a mapping of its fields; the defaults if not given.
    seed
        Seed of bootstraps, nulls and folds.
    train, train_condition
        What the surrogate learned from, shaped as x and its condition, for metrics that look for copies.

    Returns
    -------
    list of MetricResult
        As from `parhelion.evaluation.evaluate`.

    Raises
    ------
    ConfigError
        The metric is unknown, or its options or companions are missing or wrong.
    DataError
        Values are not finite, samples are empty, weights have no positive sum, or only one sample has conditions.
    ShapeError
        An array has the wrong shape.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.normal(size=2000), rng.normal(0.2, 1.0, size=3000)
    >>> result = compare_arrays("histograms", x, y, options={"bins": 20})[0]
    >>> result.quantity("ks").p_value < 0.05
    True
    """
    if metric not in METRICS:
        msg = f"metric {metric} is unknown; choose one of {', '.join(METRICS)}"
        raise ConfigError(msg)
    if METRICS[metric].needs_train and train is None:
        msg = f"metric {metric} compares with the rows that the surrogate learned from; give them as train"
        raise ConfigError(msg)
    if (x_condition is None) != (y_condition is None):
        here, missing = ("y", "x") if x_condition is None else ("x", "y")
        msg = f"{here}_condition is given and {missing}_condition is not; give both or neither"
        raise DataError(msg)
    responses = {"x": _matrix(x, "x"), "y": _matrix(y, "y")}
    conditions = {"x": _condition(x_condition, "x", responses["x"]), "y": _condition(y_condition, "y", responses["y"])}
    if train is not None:
        responses["train"] = _matrix(train, "train")
        conditions["train"] = _condition(train_condition, "train", responses["train"])
    for arrays, suffix in ((responses, ""), (conditions, "_condition")):
        for name, array in arrays.items():
            if array.shape[1] != arrays["x"].shape[1]:
                msg = f"{name}{suffix}: {array.shape[1]} columns, expected those of x{suffix}: {arrays['x'].shape[1]}"
                raise ShapeError(msg)

    schema = Schema(
        tuple(_fields(conditions, _named(condition_names, "c", conditions["x"], "condition_names"), categories)),
        tuple(_fields(responses, _named(names, "x", responses["x"], "names"), ())),
    )
    paired = x_condition is not None and np.array_equal(conditions["x"], conditions["y"])
    weights = {"x": x_weight, "y": x_weight if paired and y_weight is None else y_weight}
    samples = {
        name: _sample(schema, conditions[name], responses[name], weights.get(name), name, apart=not paired)
        for name in responses
    }
    return evaluate(
        samples["x"],
        samples["y"],
        [(metric, _options(metric, METRICS[metric].options, options))],
        seed=seed,
        train=samples.get("train"),
    )


def _matrix(values: npt.ArrayLike, name: str) -> Array:
    try:
        array = np.asarray(values)
    except ValueError:
        msg = f"{name}: the rows have different lengths, expected shape (n,) or (n, d)"
        raise ShapeError(msg) from None
    if array.ndim not in (1, 2):
        msg = f"{name}: shape {array.shape}, expected (n,) or (n, d)"
        raise ShapeError(msg)
    if array.dtype.kind not in "biuf":
        msg = f"{name}: expected numbers, got type {array.dtype}"
        raise DataError(msg)
    return array[:, None] if array.ndim == 1 else array


def _condition(values: npt.ArrayLike | None, name: str, response: Array) -> Array:
    if values is None:
        return np.empty((len(response), 0))
    array = _matrix(values, f"{name}_condition")
    if len(array) != len(response):
        msg = f"{name}_condition: {len(array)} rows, expected {len(response)}, one for each row of {name}"
        raise ShapeError(msg)
    return array


def _named(names: Sequence[str] | None, letter: str, array: Array, option: str) -> list[str]:
    columns = array.shape[1]
    if names is None:
        return [letter] if columns == 1 else [f"{letter}{i}" for i in range(columns)]
    if isinstance(names, str) or len(names) != columns:
        msg = f"{option}: expected a list of {columns} names, one a column, got {names!r}"
        raise ConfigError(msg)
    return list(names)


def _fields(arrays: Mapping[str, Array], names: Sequence[str], categories: Sequence[str]) -> list[Field]:
    unknown = [name for name in categories if name not in names]
    if unknown:
        msg = f"categories: there is no condition column {unknown[0]}; there are {', '.join(names) or 'none'}"
        raise ConfigError(msg)
    fields = []
    for i, name in enumerate(names):
        columns = [array[:, i] for array in arrays.values()]
        if name in categories:
            values = np.unique(np.concatenate(columns))
            fields.append(Field(name, kind="category", values=tuple(float(v) for v in values)))
        else:
            counts = all(column.dtype.kind in "biu" for column in columns)
            fields.append(Field(name, kind="integer" if counts else "continuous"))
    return fields


def _sample(
    schema: Schema, condition: Array, response: Array, weight: npt.ArrayLike | None, name: str, *, apart: bool
) -> Sample:
    columns = dict(zip((f.name for f in schema.condition), condition.T, strict=True))
    columns.update(zip((f.name for f in schema.response), response.T, strict=True))
    first = {"x": 0, "y": _APART if apart else 0, "train": 2 * _APART}[name]
    return Sample(schema, columns, weight=weight, event_id=np.arange(len(response)) + first, source=name)


def _options(metric: str, kind: type[Any], given: Any) -> Any:
    if given is not None and not isinstance(given, Mapping):
        return given
    chosen = dict(given or {})
    known = {f.name: f.default is MISSING and f.default_factory is MISSING for f in fields(kind) if f.init}
    for name in chosen:
        if name not in known:
            msg = f"metric {metric}: there is no option {name}; there are {', '.join(known) or 'none'}"
            raise ConfigError(msg)
    missing = [name for name, needed in known.items() if needed and name not in chosen]
    if missing:
        msg = f"metric {metric}: give options with {', '.join(missing)} (see {kind.__name__})"
        raise ConfigError(msg)
    return kind(**chosen)
