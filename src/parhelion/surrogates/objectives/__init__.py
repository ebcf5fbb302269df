"""Adversarial objectives, penalties and auxiliary terms: pure per-event functions and their options.

One class an objective, in `OBJECTIVES`, and one a penalty, in `PENALTIES`: a new one that is added there is in every
test of the family.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from parhelion.surrogates.objectives.adversarial import JensenShannon, LeastSquares, Wasserstein, WassersteinClipping
from parhelion.surrogates.objectives.auxiliary import (
    AUXILIARY,
    AuxiliaryConfig,
    AuxiliaryTerm,
    PullingAway,
    Regressor,
    Scene,
    voice,
)
from parhelion.surrogates.objectives.base import Critic, Judged, NetworkConfig, Objective
from parhelion.surrogates.objectives.cramer import Cramer
from parhelion.surrogates.objectives.energy_based import EnergyBased
from parhelion.surrogates.objectives.penalties import PENALTIES, R1, Gradient, LogitGradient, NoPenalty, Penalty

OBJECTIVES: dict[str, type[Objective]] = {
    "jensen_shannon": JensenShannon,
    "least_squares": LeastSquares,
    "wasserstein_clipping": WassersteinClipping,
    "wasserstein": Wasserstein,
    "cramer": Cramer,
    "energy_based": EnergyBased,
}


def _by_name(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


AnyObjective = Annotated[
    JensenShannon | LeastSquares | WassersteinClipping | Wasserstein | Cramer | EnergyBased,
    Field(discriminator="kind"),
    BeforeValidator(_by_name),
]
AnyPenalty = Annotated[
    NoPenalty | Gradient | R1 | LogitGradient, Field(discriminator="kind"), BeforeValidator(_by_name)
]
AnyAuxiliary = Annotated[PullingAway | Regressor, Field(discriminator="kind"), BeforeValidator(_by_name)]

__all__ = [
    "AUXILIARY",
    "OBJECTIVES",
    "PENALTIES",
    "AnyAuxiliary",
    "AnyObjective",
    "AnyPenalty",
    "AuxiliaryConfig",
    "AuxiliaryTerm",
    "Critic",
    "Judged",
    "NetworkConfig",
    "NoPenalty",
    "Objective",
    "Penalty",
    "Scene",
    "voice",
]
