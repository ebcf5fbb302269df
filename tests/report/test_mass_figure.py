"""The mass figure shows the fit's numbers and leaves the style of other figures alone."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest

from parhelion.report.mass import mass_figure
from parhelion.splot import MassModel, fit_mass
from parhelion.splot.peaks import Gaussian


@pytest.fixture
def fit():
    rng = np.random.default_rng(2)
    mass = np.concatenate([rng.normal(1.865, 0.008, 3_000), rng.uniform(1.80, 1.93, 3_000)])
    return fit_mass(mass, MassModel((1.80, 1.93), Gaussian()))


def test_figure_shows_yields_and_pulls(fit, tmp_path):
    before = dict(mpl.rcParams)
    figure = mass_figure(fit, title="kaons")
    figure.savefig(tmp_path / "mass.png")
    assert dict(mpl.rcParams) == before
    top, bottom = figure.axes
    labels = [t.get_text() for t in top.get_legend().get_texts()]
    assert labels[:2] == ["data", "fit"]
    assert f"signal: {fit.yields['signal']:,.0f} ± {fit.yield_errors['signal']:,.0f}" in labels
    assert "kaons" in top.texts[0].get_text()
    assert f"{fit.chi2:.1f}/{fit.ndf}" in top.texts[0].get_text()
    assert bottom.get_xlabel() == "mass [GeV]"
    total = next(line for line in top.lines if line.get_label() == "fit")
    size = 0.13 / len(fit.counts)
    area = np.trapezoid(total.get_ydata(), total.get_xdata()) / size
    assert area == pytest.approx(sum(fit.counts), rel=1e-3)
