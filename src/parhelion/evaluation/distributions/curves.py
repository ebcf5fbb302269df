"""Averages of vector observables: spectra of cells, profiles of showers, curves against a threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from parhelion.errors import ConfigError
from parhelion.evaluation.results.metric import Metric
from parhelion.evaluation.results.null import against_null, difference_quantities
from parhelion.evaluation.results.result import NAN, Bin, MetricResult, Quantity
from parhelion.evaluation.samples.comparison import Influence, compare
from parhelion.sample import Field, Sample

FloatArray = npt.NDArray[np.float64]

NAME = "curves"


@dataclass(frozen=True)
class CurveOptions:
    """Options of `curves`.

    Attributes
    ----------
    fields
        Vector fields (responses, or extra fields such as the curves of observables); all vectors of one dimension if
        empty.
    replicas
        Draws of the null.
    """

    fields: tuple[str, ...] = ()
    replicas: int = 200

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.replicas < 20:
            msg = f"metric {NAME}: replicas {self.replicas}, expected at least 20"
            raise ConfigError(msg)


def curves(reference: Sample, generated: Sample, options: CurveOptions, *, seed: int) -> list[MetricResult]:
    """Weighted averages of vector fields, component by component.

    Components of one row are not independent; the covariance of the averages is that of the rows (cluster-robust,
    paired rows included, see `comparison`), and so are the draws of the null. The separation power compares the
    averages as shapes, 1/2 sum (p - q)^2 / (p + q) with p and q the averages over their sums: for numbers of cells in
    bins of energy that is the separation of the pooled cell spectra. It is NaN where an average is negative.

    Parameters
    ----------
    reference, generated
        Samples with the fields that the options name.
    options
        See `CurveOptions`.
    seed
        Seed of the null.

    Returns
    -------
    list of MetricResult
        One a field. Quantities: `chi2_ndf` (main; squares of the pulls, null from draws), `separation`, `max_pull`
        (largest difference in standard errors), `mean` and `max` (of the absolute differences, in the field's unit).
        Details: ``field``, ``unit``, ``reference`` and ``generated`` with ``mean`` and ``error`` (k), ``difference``,
        ``difference_error``, ``ratio`` (k; None where the reference is 0). Bins: relative differences of the components
        whose relative error is below one half.

    Raises
    ------
    ConfigError
        A field does not exist or is no vector, or there is no vector.
    """
    comparison = compare(reference, generated)
    rng = np.random.default_rng(seed)
    return [_curve(comparison, field, options, rng) for field in _vectors(reference, options.fields)]


def _vectors(sample: Sample, names: tuple[str, ...]) -> list[Field]:
    vectors = [f for f in (*sample.schema.response, *sample.schema.extra) if len(f.shape) == 1 and f.width > 1]
    known = {f.name: f for f in vectors}
    wrong = next((name for name in names if name not in known), None)
    if wrong is not None or not vectors:
        what = f"{wrong} is no vector" if wrong is not None else "there is no vector to average"
        msg = f"metric {NAME}: {what}; vectors are {', '.join(known) or 'none'}"
        raise ConfigError(msg)
    return [known[name] for name in names] if names else vectors


def _curve(comparison: Any, field: Field, options: CurveOptions, rng: np.random.Generator) -> MetricResult:
    means, errors, influences = [], [], []
    for sample in (comparison.reference, comparison.generated):
        values = np.asarray(sample[field.name], dtype=np.float64)
        share = sample.weight / np.sum(sample.weight)
        mean = share @ values
        centred = share[:, None] * (values - mean)
        means.append(mean)
        errors.append(np.sqrt(np.sum(centred**2, axis=0)))
        influences.append(sparse.csr_matrix(centred))
    influence = Influence(comparison, *influences)
    difference, error = means[1] - means[0], influence.error()
    null = influence.null(options.replicas, rng)
    found = difference_quantities(difference, error, null)
    quantities: dict[str, Quantity] = {"chi2_ndf": found["chi2_ndf"], "separation": Quantity(NAN)}
    if min(means[0].min(), means[1].min()) >= 0 and min(means[0].sum(), means[1].sum()) > 0:
        middle = (means[0] + means[1]) / 2
        draws = np.array([_separation(middle + d / 2, middle - d / 2) for d in null])
        shifted = np.array([_separation(means[0], np.maximum(means[1] + d, 0.0)) for d in null])
        value = _separation(*means)
        quantities["separation"] = against_null(value, float(np.std(shifted, ddof=1)), draws, limit=0.0)
    quantities |= {name: found[name] for name in ("max_pull", "mean", "max")}
    ratio = np.divide(means[1], means[0], out=np.full_like(means[0], np.nan), where=means[0] > 0)
    told = (means[0] > 0) & (error < 0.5 * means[0]) & (error > 0)
    return MetricResult(
        name=NAME,
        on=field.name,
        main="chi2_ndf",
        quantities=quantities,
        details={
            **comparison.describe(),
            "field": field.name,
            "unit": field.unit,
            "reference": {"mean": means[0], "error": errors[0]},
            "generated": {"mean": means[1], "error": errors[1]},
            "difference": difference,
            "difference_error": error,
            "ratio": ratio,
            "caption": f"Average of {field.name} over rows, component by component.",
        },
        fields=(field.name,),
        bins=tuple(
            Bin(f"{field.name}[{k}]", float(difference[k] / means[0][k]), float(error[k] / means[0][k]))
            for k in np.flatnonzero(told)
        ),
    )


def _separation(first: FloatArray, second: FloatArray) -> float:
    """Separation power of two curves as shapes; what the null's draws push below 0 counts as 0."""
    p, q = np.maximum(first, 0.0), np.maximum(second, 0.0)
    p, q = p / max(p.sum(), 1e-300), q / max(q.sum(), 1e-300)
    both = p + q
    return float(0.5 * np.sum(np.divide((p - q) ** 2, both, out=np.zeros_like(both), where=both > 0)))


METRIC = Metric(NAME, CurveOptions, curves, ("chi2_ndf", "separation", "max_pull", "mean", "max"), "distributions")
