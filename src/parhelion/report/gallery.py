"""Which figures a report has, in which order."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from parhelion.files import atomic_path
from parhelion.report.content import ReportContent
from parhelion.report.entries import Entry
from parhelion.report.families import FAMILIES
from parhelion.report.pages import ORDER
from parhelion.report.style import ImageFormat, render


def figures_of(content: ReportContent) -> Iterator[Entry]:
    """Make the figures of a report one after the other, page by page, with unique names."""
    taken: set[str] = set()
    for page, maker in sorted(FAMILIES, key=lambda pair: ORDER[pair[0]]):
        for entry in maker(content):
            name, number = entry.name, 1
            while name in taken:
                number += 1
                name = f"{entry.name}_{number}"
            taken.add(name)
            yield replace(entry, name=name, page=page)


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
