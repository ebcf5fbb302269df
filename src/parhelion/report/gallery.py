"""Which figures a report has, in which order, and the caption that says how to read each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from parhelion.evaluation.result import MetricResult
from parhelion.files import atomic_path
from parhelion.report import pages
from parhelion.report.content import ReportContent
from parhelion.report.entries import Entry, bound_of, events, grouped, named, sentence, slug
from parhelion.report.families import FAMILIES, Maker
from parhelion.report.figures import (
    auc_map_figure,
    classifier_figure,
    correlation_figure,
    distribution_figure,
    efficiency_figure,
    structure_figure,
    training_figure,
)
from parhelion.report.figures.arrays import measured
from parhelion.report.style import ImageFormat, render

CLASSIFIER: Final = "Classifier two-sample test"
MAPS: Final = "AUC-difference maps"
EFFICIENCIES: Final = "Efficiency and misidentification"
DISTRIBUTIONS: Final = "Distributions"
STRUCTURE: Final = "Exact equalities"
CORRELATIONS: Final = "Correlations"
TRAINING: Final = "Training curves"
MASS_FITS: Final = "Mass fits and sWeights"


def figures_of(content: ReportContent) -> Iterator[Entry]:
    """Make the figures of a report one after the other, page by page, with unique names."""
    taken: set[str] = set()
    for page, maker in sorted((*_own(), *FAMILIES), key=lambda pair: pages.ORDER[pair[0]]):
        for entry in maker(content):
            name, number = entry.name, 1
            while name in taken:
                number += 1
                name = f"{entry.name}_{number}"
            taken.add(name)
            yield replace(entry, name=name, page=entry.page or page)


def save_figures(
    folder: str | os.PathLike[str], content: ReportContent, formats: Sequence[ImageFormat] = ("png", "pdf")
) -> list[Path]:
    """Write every figure of a report to its own files, for papers and slides.

    Parameters
    ----------
    folder
        Where; made if needed.
    content
        What the report shows.
    formats
        Any of ``png``, ``pdf`` and ``svg``.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    WriteError
        A file cannot be written.
    """
    written = []
    for entry in figures_of(content):
        for image_format in formats:
            path = Path(folder) / f"{entry.name}.{image_format}"
            data = render(entry.figure, image_format)
            with atomic_path(path) as temporary:
                temporary.write_bytes(data)
            written.append(path)
    return written


def _own() -> tuple[tuple[str, Maker], ...]:
    return (
        ("physics", _maps),
        ("physics", _efficiencies),
        ("physics", _correlations),
        ("physics", _structures),
        ("classifiers", _classifiers),
        ("distributions", _distributions),
        (pages.TRAINING, _training),
        (pages.TRAINING, _mass_fits),
    )


def _classifiers(content: ReportContent) -> Iterator[Entry]:
    for result in named(content, "classifier"):
        d = result.details
        caption = (
            f"{sentence(result)} The features are {', '.join(d['features'])}. Top left: scores of rows that the trees "
            "had not seen; where the points leave the filled line, they found a difference. Top right: the ROC curve "
            "minus its diagonal; zero everywhere means indistinguishable. Bottom left: AUC of each fold, and the same "
            f"test of reference against reference. Bottom right: what the trees relied on. {events(result)}"
        )
        if d["signed_training"]:
            caption += (
                " Weights are signed: the trees learned from regressed positive weights, and the signed ones judge."
            )
        figure = classifier_figure(result, bound=bound_of(content, result, result.main), label=content.label)
        yield Entry(CLASSIFIER, slug("classifier", result.on), caption, figure)


def _maps(content: ReportContent) -> Iterator[Entry]:
    for result in named(content, "auc_map"):
        d = result.details
        bound = bound_of(content, result, "max")
        caption = (
            f"{sentence(result)} Left: generated minus reference in thousandths of AUC; red cells separate the two "
            "species better than the reference does, blue cells worse. Middle: the same for reference against "
            "reference, the size of purely statistical fluctuations, on the same colours. Right: the left map divided "
            f"by its uncertainty (bootstrap by event, {d['replicas']} replicas). Cells are drawn equally large. A grey "
            f"cell has fewer than {float(d['min_tracks']):g} effective rows of one species in one of the samples; n is "
            f"the smaller number in the reference. {events(result)}"
        )
        if bound is not None:
            caption += f" Black frames mark cells beyond the allowed ±{bound:g}."
        figure = auc_map_figure(result, bound=bound, label=content.label)
        about = (d["variable"], d["signal"], d["background"])
        yield Entry(MAPS, slug("auc_map", result.on), caption, figure, about=about)


def _efficiencies(content: ReportContent) -> Iterator[Entry]:
    for group in grouped(named(content, "efficiency"), lambda r: (r.details["variable"], r.details["threshold"])):
        d = group[0].details
        cut = f"{d['variable']} > {float(d['threshold']):g}"
        bounds = {r.on: b for r in group if (b := bound_of(content, r, "max")) is not None}
        caption = (
            f"Share of each species that passes {cut}, against {d['x']}: the efficiency of the species that the cut "
            "selects, the misidentification of the others. Points: reference with statistical error and bin width. "
            "Line with band: generated with its statistical error. Lower panels: generated minus reference"
        )
        caption += "; the green band is what the requirement allows." if bounds else "."
        if d["paired"]:
            caption += " Both samples share their conditions row by row; the error of the difference accounts for it."
        figure = efficiency_figure(group, bounds=bounds, label=content.label)
        about = (d["variable"], *(str(r.details["species"]) for r in group))
        yield Entry(EFFICIENCIES, slug("efficiency", cut), f"{caption} {events(*group)}", figure, about=about)


def _distributions(content: ReportContent) -> Iterator[Entry]:
    for group in grouped(named(content, "histograms"), lambda r: r.details["field"]):
        name = str(group[0].details["field"])
        caption = (
            f"Weighted distribution of {name}{', for all rows and by category' if len(group) > 1 else ''}. Points: "
            "reference. Filled line: generated; the dark band is its statistical error. Below: ratio of generated to "
            "reference, where triangles at the edge point to bins outside the panel; and pull, the difference in "
            "standard errors, with bands at 1 and 3. On logarithmic axes, open triangles at the bottom stand for bins "
            "whose weighted content is zero or negative. χ²/ndf compares the shapes with the full covariance of the "
            f"bins. {events(*group)}"
        )
        figure = distribution_figure(group, label=content.label)
        yield Entry(DISTRIBUTIONS, slug("distribution", name), caption, figure, about=(name,))


def _structures(content: ReportContent) -> Iterator[Entry]:
    for result in named(content, "structure"):
        caption = (
            f"{sentence(result)} Share of the weight in rows with each pattern. Points: reference; bars: generated; "
            "right: generated minus reference."
        )
        smeared = result.details["smeared"]
        if smeared is not None:
            caption += f" Of the reference's ties, {100 * float(smeared):.3g} % are not ties in the generated sample."
        figure = structure_figure(result, label=content.label)
        name = slug("structure", result.on)
        yield Entry(STRUCTURE, name, f"{caption} {events(result)}", figure, _ties(result))


def _correlations(content: ReportContent) -> Iterator[Entry]:
    for result in named(content, "correlation"):
        caption = (
            f"{sentence(result)} Left: weighted correlation coefficients of the reference. Right: generated minus "
            f"reference in thousandths. Both matrices are symmetric; the lower half is shown. {events(result)}"
        )
        figure = correlation_figure(result, label=content.label)
        yield Entry(CORRELATIONS, slug("correlation", result.on), caption, figure)


def _training(content: ReportContent) -> Iterator[Entry]:
    if not content.curves:
        return
    caption = "What was logged during training, against the optimisation step; pale lines are single records."
    validation = content.curves.get("validation")
    if validation is not None and np.isfinite(validation.value).any():
        best = int(np.nanargmin(validation.value))
        caption += f" Smallest validation metric: {validation.value[best]:.4g} at step {validation.step[best]:,}."
    if "validation_null" in content.curves:
        caption += " The dashed grey line is its null, reference against reference."
    yield Entry(TRAINING, "training", caption, training_figure(content.curves, label=content.label))


def _mass_fits(content: ReportContent) -> Iterator[Entry]:
    for name, fit in content.mass_fits.items():
        from parhelion.report.figures.sweights import sweight_figure
        from parhelion.report.mass import mass_figure

        signal = measured(fit.yields["signal"], fit.yield_errors["signal"])
        caption = (
            f"Extended maximum-likelihood fit of the mass spectrum of {name}: {fit.rows:,} rows in the window, signal "
            f"yield {signal}. Lower panel: (data − fit) / √fit."
        )
        figure = mass_figure(fit, title=name, unit=content.mass_unit)
        yield Entry(MASS_FITS, slug("mass_fit", name), caption, figure)
        caption = (
            f"sWeight of the signal of {name} against the mass, from this fit: negative where background dominates, so "
            "that weighted sums over all rows are sums over signal alone."
        )
        figure = sweight_figure(fit, title=name, unit=content.mass_unit, label=content.label)
        yield Entry(MASS_FITS, slug("sweight", name), caption, figure)


def _ties(result: MetricResult) -> list[tuple[str, ...]]:
    d = result.details
    columns = (
        (d["reference"]["share"], d["reference"]["error"]),
        (d["generated"]["share"], d["generated"]["error"]),
        (d["difference"], d["difference_error"]),
    )
    table: list[tuple[str, ...]] = [("Pattern", "Reference [%]", "Generated [%]", "Difference [%]")]
    for index, pattern in enumerate(d["patterns"]):
        shares = [measured(100 * v[index], 100 * (e[index] or 0.0)) for v, e in columns]
        table.append((str(pattern), *shares))
    return table
