"""sPlot: signal weights from a fit to a mass spectrum."""

from __future__ import annotations

from parhelion.splot.check import FactorisationCheck, factorisation_check
from parhelion.splot.fit import MassFit, fit_mass
from parhelion.splot.minimise import COMPONENTS
from parhelion.splot.model import MassModel
from parhelion.splot.presets import rich_calibration_models
from parhelion.splot.shape import Shape
from parhelion.splot.shapes import SHAPES
from parhelion.splot.spectrum import MassSpectrum
from parhelion.splot.weighting import apply_fits, fit_stream, splot

__all__ = [
    "COMPONENTS",
    "SHAPES",
    "FactorisationCheck",
    "MassFit",
    "MassModel",
    "MassSpectrum",
    "Shape",
    "apply_fits",
    "factorisation_check",
    "fit_mass",
    "fit_stream",
    "rich_calibration_models",
    "splot",
]
