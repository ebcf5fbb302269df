"""Figures and the single-file HTML report."""

from __future__ import annotations

from parhelion.report.content import ReportContent, SampleEntry, SurrogateEntry, Timing, TrainingEntry
from parhelion.report.gallery import save_figures
from parhelion.report.html import render_report, write_report

__all__ = [
    "ReportContent",
    "SampleEntry",
    "SurrogateEntry",
    "Timing",
    "TrainingEntry",
    "render_report",
    "save_figures",
    "write_report",
]
