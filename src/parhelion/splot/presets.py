"""Mass models for the calibration samples that the library knows."""

from __future__ import annotations

from parhelion.splot.backgrounds import Chebyshev
from parhelion.splot.model import MassModel
from parhelion.splot.peaks import CrystalBall, DoubleGaussian


def rich_calibration_models() -> dict[float, MassModel]:
    """Mass models of charged-track calibration samples by absolute PDG id, masses in GeV.

    Kaons and pions come from D0 -> K pi, protons from Lambda -> p pi, muons and electrons from J/psi -> l l
    (LHCb, EPJ Tech. Instrum. 6 (2019) 1, arXiv:1803.00824, table 1). Electrons have a tail to low mass from
    bremsstrahlung, whose power is held at 3: data of this size does not determine it together with the start of
    the tail and the background.
    """
    d0 = MassModel(window=(1.80, 1.93), signal=DoubleGaussian())
    return {
        321.0: d0,
        211.0: d0,
        2212.0: MassModel(window=(1.10, 1.13), signal=DoubleGaussian(), background=Chebyshev(1)),
        13.0: MassModel(window=(3.0, 3.2), signal=DoubleGaussian()),
        11.0: MassModel(window=(2.5, 3.5), signal=CrystalBall("low"), fixed={"n": 3.0}),
    }
