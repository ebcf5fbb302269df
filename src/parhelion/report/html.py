"""The report: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from parhelion.files import atomic_path
from parhelion.report.content import ReportContent, Timing
from parhelion.report.figures.arrays import measured
from parhelion.report.gallery import figures_of
from parhelion.report.style import render
from parhelion.report.words import explain, headline

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Drawings of more marks are larger than their pictures, and slow to make and to show.
_MOST_MARKS: Final = 900
_MARKS_OF_AXES: Final = 80
_PIXELS_PER_INCH: Final = 82


@dataclass(frozen=True)
class _Picture:
    """A figure as the template takes it; `markup` is HTML made here, `caption` and `table` are text."""

    name: str
    caption: str
    markup: str
    table: Sequence[Sequence[str]]


def write_report(path: str | os.PathLike[str], content: ReportContent) -> None:
    """Write one self-contained HTML file: verdict, what was trained on what, figures, how to reproduce.

    Parameters
    ----------
    path
        The file. An older report there is replaced only once the new one is complete.
    content
        What the report says.

    Raises
    ------
    WriteError
        The file cannot be written.
    """
    text = render_report(content)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def render_report(content: ReportContent) -> str:
    """The report as HTML; equal content gives equal text."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("parhelion.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        explain=explain,
        measured=_measured,
        bound=_bound,
        duration=duration,
        rate=_rate,
        probability=_probability,
        title=_first_capital,
    )
    sections: dict[str, list[_Picture]] = {}
    for number, entry in enumerate(figures_of(content), start=1):
        markup = embed(entry.figure, f"f{number}", entry.name)
        sections.setdefault(entry.section, []).append(_Picture(entry.name, entry.caption, markup, entry.table))
    verdict = None if content.verdict is None else content.verdict.to_dict()
    return environment.get_template("report.html.j2").render(
        content=content,
        verdict=verdict,
        companions={name: found.to_dict() for name, found in content.companions.items()},
        headline=headline(verdict),
        sections=sections,
        results=[r.to_dict() for r in content.results],
        settings=_settings(content),
    )


def embed(figure: Figure, prefix: str, name: str) -> str:
    """HTML of a figure: an inline SVG, or a PNG where the SVG would be huge.

    Parameters
    ----------
    figure
        The figure.
    prefix
        Put before each id of the SVG that is referred to: a page has several figures, and matplotlib gives them the
        same ids. Other ids are dropped.
    name
        Name for readers that do not see the picture; letters, digits and underscores.
    """
    look = f'style="max-width: {figure.get_figwidth() * _PIXELS_PER_INCH:.0f}px"'
    if sum(_MARKS_OF_AXES + len(axes.texts) for axes in figure.axes) > _MOST_MARKS:
        data = base64.b64encode(render(figure, "png")).decode()
        return f'<img alt="{name}" {look} src="data:image/png;base64,{data}">'
    drawing = render(figure, "svg").decode()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    wanted = set(re.findall(r'(?:href="#|url\(#)([^")]+)', drawing))
    drawing = re.sub(r' id="([^"]*)"', lambda m: f' id="{prefix}-{m[1]}"' if m[1] in wanted else "", drawing)
    drawing = re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}-", drawing)
    # The page sets the size; without width and height the drawing scales with its column.
    drawing = re.sub(r'^<svg([^>]*?) width="[^"]*"', r"<svg\1", drawing)
    drawing = re.sub(r'^<svg([^>]*?) height="[^"]*"', r"<svg\1", drawing)
    return drawing.replace("<svg", f'<svg role="img" aria-label="{name}" {look}', 1).strip()


def duration(seconds: float) -> str:
    """Time for people: ``0.42 s``, ``3 min 5 s``, ``2 h 10 min``."""
    if seconds < 9.95:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _measured(quantity: Mapping[str, Any], null: bool = False) -> str:
    value, error = ("null", "null_error") if null else ("value", "error")
    return measured(quantity[value], quantity[error], quantity["unit"])


def _bound(outcome: Mapping[str, Any]) -> str:
    parts = [f"{sign} {outcome[key]:g}" for key, sign in (("min", "≥"), ("max", "≤")) if outcome[key] is not None]
    return " and ".join(parts)


def _probability(value: float | None) -> str:
    if value is None:
        return "–"
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def _rate(timing: Timing) -> str:
    if timing.rows is None or timing.seconds <= 0:
        return "–"
    return f"{float(f'{timing.rows / timing.seconds:.3g}'):,.0f} / s"


def _first_capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _settings(content: ReportContent) -> dict[str, list[tuple[str, str]]]:
    """Configurations as flat tables: dotted key and value."""
    found = {}
    for name, entry in (("surrogate", content.surrogate), ("training", content.training)):
        if entry is not None and entry.config:
            found[name] = list(_flat(entry.config))
    return found


def _flat(config: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
