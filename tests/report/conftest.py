"""One report with every kind of figure, drawn once for all tests."""

from __future__ import annotations

import pytest
import report_toys as toys

from parhelion.report import render_report


@pytest.fixture(scope="session")
def full():
    content = toys.content(toys.results(("RichDLLk", "RichDLLp"), ("K",)))
    return content, render_report(content)
