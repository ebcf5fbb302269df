"""sWeights for samples: one mass fit for all rows, or one for each category."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from parhelion.errors import DataError
from parhelion.sample import Sample
from parhelion.splot.fit import MassFit, fit_mass
from parhelion.splot.model import MassModel
from parhelion.splot.spectrum import UNBINNED_LIMIT, MassSpectrum

Key = float | None
"""Category code that a model or a fit belongs to; None where one fit serves all rows."""


def splot(
    sample: Sample, models: Mapping[Key, MassModel], *, mass: str = "mass", by: str | None = None
) -> tuple[Sample, dict[Key, MassFit]]:
    """Fit the mass spectrum and weight the rows with the sWeights of the signal.

    Parameters
    ----------
    sample
        Unweighted rows with a mass field.
    models
        One model a category code; `{None: model}` without `by`. Codes that no row has are passed over.
    mass
        Name of the mass field.
    by
        Name of a category field: each of its values gets its own fit.

    Returns
    -------
    sample
        Rows inside the windows in their order, weighted; the weights of a category sum to its signal yield.
    fits
        The fit of each category that occurs.

    Raises
    ------
    DataError
        The rows have weights already, a field is missing, a category has no model, or a fit fails (see `fit_mass`).
    """
    fits = fit_stream([sample], models, mass=mass, by=by)
    return apply_fits(sample, fits, mass=mass, by=by), fits


def fit_stream(
    samples: Iterable[Sample],
    models: Mapping[Key, MassModel],
    *,
    mass: str = "mass",
    by: str | None = None,
    limit: int = UNBINNED_LIMIT,
) -> dict[Key, MassFit]:
    """Fit mass spectra over chunks of a file; `apply_fits` weights the chunks in a second pass.

    Memory is bounded by `limit` masses a category, whatever the number of rows; see `MassSpectrum`.

    Parameters
    ----------
    samples
        Chunks of unweighted rows.
    models, mass, by
        As for `splot`.
    limit
        Rows of a category up to which its fit is unbinned.

    Raises
    ------
    DataError
        As for `splot`.
    """
    spectra: dict[Key, MassSpectrum] = {}
    for sample in samples:
        if not np.all(sample.weight == 1.0):
            row = int(np.argmax(sample.weight != 1.0))
            msg = (
                f"{sample.source}, row {row}: weight {sample.weight[row]:g}, expected 1; sPlot of rows that have "
                "weights already is not supported, so read the file without its weight column"
            )
            raise DataError(msg)
        masses = _masses(sample, mass)
        for key, rows in _categories(sample, models, by, "model"):
            if key not in spectra:
                where = sample.source if key is None else f"{sample.source}, {_name(sample, by, key)}"
                spectra[key] = MassSpectrum(models[key].window, limit=limit, source=where)
            spectra[key].add(masses[rows])
    if not spectra:
        msg = "there are no rows to fit a mass spectrum to; check the file and its selection"
        raise DataError(msg)
    return {key: fit_mass(spectra[key], models[key]) for key in models if key in spectra}


def apply_fits(sample: Sample, fits: Mapping[Key, MassFit], *, mass: str = "mass", by: str | None = None) -> Sample:
    """Keep the rows inside the fitted windows and weight them with the sWeights of the signal.

    Parameters
    ----------
    sample
        Rows with the mass field, whole or a chunk.
    fits
        From `splot` or `fit_stream`.
    mass, by
        As for `splot`.

    Raises
    ------
    DataError
        A field is missing, or a category has no fit.
    """
    masses = _masses(sample, mass)
    weight = np.zeros(len(sample))
    keep = np.zeros(len(sample), dtype=bool)
    for key, rows in _categories(sample, fits, by, "fit"):
        chosen = rows[fits[key].inside(masses[rows])]
        keep[chosen] = True
        weight[chosen] = fits[key].sweights(masses[chosen])[:, 0]
    return sample.with_weight(weight).take(keep)


def _masses(sample: Sample, mass: str) -> npt.NDArray[np.float64]:
    if mass not in sample.columns:
        have = ", ".join(f.name for f in sample.schema.fields)
        msg = f"{sample.source}: there is no mass field {mass}; the fields are {have}"
        raise DataError(msg)
    values = np.asarray(sample[mass], dtype=np.float64)
    if values.ndim != 1:
        msg = f"{sample.source}: field {mass} has shape {values.shape[1:]} a row, expected one mass a row"
        raise DataError(msg)
    return values


def _categories(
    sample: Sample, known: Mapping[Key, object], by: str | None, what: str
) -> list[tuple[Key, npt.NDArray[np.intp]]]:
    if by is None:
        if set(known) != {None}:
            msg = (
                f"{sample.source}: {len(known)} mass {what}s and no category field to choose by; name it, "
                f"or give one {what} for all rows"
            )
            raise DataError(msg)
        return [(None, np.arange(len(sample)))]
    if by not in sample.columns or sample.schema[by].kind != "category":
        have = ", ".join(f.name for f in sample.schema.fields if f.kind == "category") or "none"
        msg = f"{sample.source}: {by} is not a category field; the category fields are {have}"
        raise DataError(msg)
    column = sample[by]
    result: list[tuple[Key, npt.NDArray[np.intp]]] = []
    for code in np.unique(column).tolist():
        if float(code) not in known:
            codes = ", ".join(f"{k:g}" for k in known if k is not None) or "none"
            msg = f"{sample.source}: {_name(sample, by, code)} has no mass {what}; there are {what}s for {codes}"
            raise DataError(msg)
        result.append((float(code), np.flatnonzero(column == code)))
    return result


def _name(sample: Sample, by: str | None, code: float) -> str:
    label = sample.schema[by].label_of(code) if by is not None else ""
    return f"{by} {code:g}" + (f" ({label})" if label and label != f"{code:g}" else "")
