"""The report: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from parhelion.files import atomic_path
from parhelion.report.content import ReportContent, Timing
from parhelion.report.entries import Entry
from parhelion.report.explore import explorable, script_json, words_of
from parhelion.report.families.inference import headline_sentence as usable_size_sentence
from parhelion.report.figures.arrays import measured, probability
from parhelion.report.gallery import figures_of
from parhelion.report.pages import PAGES, TRAINING, Page, page_of
from parhelion.report.style import render
from parhelion.report.words import CANNOT_TELL, FAIL, PASS, explain, headline, status_of, subject

if TYPE_CHECKING:
    import jinja2
    from matplotlib.figure import Figure

# Drawings of more marks are larger than their pictures, and slow to make and to show.
_MOST_MARKS: Final = 900
_MARKS_OF_AXES: Final = 80
_PIXELS_PER_INCH: Final = 82
_SCRIPTS: Final = ("dom", "pages", "table", "binned", "panels", "map", "enlarge", "start")


@dataclass(frozen=True)
class _Picture:
    """A figure as the template takes it; `markup` is HTML made here, `width` is in pixels, the rest is text."""

    name: str
    caption: str
    markup: str
    width: int
    table: Sequence[Sequence[str]]
    about: Sequence[str]


@dataclass(frozen=True)
class _Part:
    """What stands on one page: figures by heading, results and outcomes, all in plain form."""

    page: Page
    sections: Mapping[str, Sequence[_Picture]]
    results: Sequence[Mapping[str, Any]]
    outcomes: Sequence[Mapping[str, Any]]

    @property
    def met(self) -> list[Mapping[str, Any]]:
        """Outcomes that pass."""
        return [outcome for outcome in self.outcomes if status_of(outcome) == PASS]

    @property
    def unmet(self) -> list[Mapping[str, Any]]:
        """Outcomes that do not pass: they fail or cannot be told."""
        return [outcome for outcome in self.outcomes if status_of(outcome) != PASS]

    @property
    def worst(self) -> str:
        """The status that a reader must know of first; empty without requirements."""
        found = {status_of(outcome) for outcome in self.outcomes}
        return next((status for status in (FAIL, CANNOT_TELL, PASS) if status in found), "")


def write_report(path: str | os.PathLike[str], content: ReportContent) -> None:
    """Write one self-contained HTML file: verdict, a page for each family of metrics, how to reproduce.

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
    """Make the report as HTML; equal content gives equal text.

    Without JavaScript and in print all pages stand below each other. The page's script is the only one that its
    content policy lets run, and nothing may be loaded.
    """
    environment = _environment()
    verdict = None if content.verdict is None else content.verdict.to_dict()
    script = _script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("report.html.j2").render(
        content=content,
        verdict=verdict,
        usable=usable_size_sentence(content.results),
        companions={name: found.to_dict() for name, found in content.companions.items()},
        headline=headline(verdict),
        parts=_parts(content, verdict),
        settings=_settings(content),
        data=script_json(explorable(content.results)),
        script=script,
        script_hash=digest,
    )


def _environment() -> jinja2.Environment:
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
        status=status_of,
        subject=subject,
        measured=_measured,
        unbroken=lambda text: text.replace("± ", "±\u00a0"),
        value_and_error=_value_and_error,
        bound=_bound,
        duration=duration,
        rate=_rate,
        probability=_probability,
        title=_first_capital,
        page_of=page_of,
        json=script_json,
    )
    return environment


def _script() -> str:
    """All of the page's script, as it stands between its tags."""
    folder = resources.files("parhelion.report") / "templates"
    sources = [(folder / f"report_{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS]
    return "\n".join(('\n(() => {\n"use strict";', *sources, "})();\n"))


def _parts(content: ReportContent, verdict: Mapping[str, Any] | None) -> list[_Part]:
    """The pages that have something to show, in order."""
    sections: dict[str, dict[str, list[_Picture]]] = {}
    for number, entry in enumerate(figures_of(content), start=1):
        picture = _picture(content, entry, f"f{number}")
        sections.setdefault(entry.page, {}).setdefault(entry.section, []).append(picture)
    parts = []
    for page in PAGES:
        results = [r.to_dict() for r in content.results if page_of(r.name) == page.key]
        outcomes = [o for o in (verdict or {}).get("outcomes", ()) if page_of(o["metric"]) == page.key]
        told = content.training or content.surrogate
        if page.key in sections or results or (page.key == TRAINING and told):
            parts.append(_Part(page, sections.get(page.key, {}), results, outcomes))
    return parts


def _picture(content: ReportContent, entry: Entry, prefix: str) -> _Picture:
    about = list(dict.fromkeys(map(str, entry.about)))
    if not about:
        known = dict.fromkeys(w for r in content.results if page_of(r.name) == entry.page for w in words_of(r))
        about = [w for w in known if re.search(rf"(?<!\w){re.escape(w)}(?!\w)", entry.caption)]
    markup = embed(entry.figure, prefix, entry.name)
    width = round(entry.figure.get_figwidth() * _PIXELS_PER_INCH)
    return _Picture(entry.name, entry.caption, markup, width, entry.table, about)


def embed(figure: Figure, prefix: str, name: str) -> str:
    """HTML of a figure: an inline SVG, or a PNG where the SVG would be huge.

    Parameters
    ----------
    figure
        The figure.
    prefix
        Start of each id of the SVG that is referred to: a page has several figures, and matplotlib gives them the
        same ids, long ones. Other ids are dropped.
    name
        Name for readers that do not see the picture; letters, digits and underscores.
    """
    if sum(_MARKS_OF_AXES + len(axes.texts) for axes in figure.axes) > _MOST_MARKS:
        data = base64.b64encode(render(figure, "png")).decode()
        return f'<img alt="{name}" src="data:image/png;base64,{data}">'
    drawing = render(figure, "svg").decode()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    names: dict[str, str] = {}
    for wanted in re.findall(r'(?:href="#|url\(#)([^")]+)', drawing):
        names.setdefault(wanted, f"{prefix}-{len(names)}")
    drawing = re.sub(r' id="([^"]*)"', lambda m: f' id="{names[m[1]]}"' if m[1] in names else "", drawing)
    drawing = re.sub(r'(href="#|url\(#)([^")]+)', lambda m: m[1] + names[m[2]], drawing)
    drawing = re.sub(r"\n\s+", "\n", drawing)
    # The page sets the size; without width and height the drawing scales with its column.
    drawing = re.sub(r'^<svg([^>]*?) width="[^"]*"', r"<svg\1", drawing)
    drawing = re.sub(r'^<svg([^>]*?) height="[^"]*"', r"<svg\1", drawing)
    return drawing.replace("<svg", f'<svg role="img" aria-label="{name}"', 1).strip()


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


def _value_and_error(quantity: Mapping[str, Any], null: bool = False) -> tuple[str, str]:
    """Value and error in cells of their own, without unit."""
    text, _, error = _measured({**quantity, "unit": ""}, null).partition(" ± ")
    return text, error or "–"


def _bound(outcome: Mapping[str, Any]) -> str:
    parts = [f"{sign} {outcome[key]:g}" for key, sign in (("min", "≥"), ("max", "≤")) if outcome[key] is not None]
    return " and ".join(parts)


def _probability(value: float | None) -> str:
    return "< 0.0001" if value is not None and value < 1e-4 else probability(value)


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
