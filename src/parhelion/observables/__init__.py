"""Physics quantities of showers, computed from condition and response: pure functions on arrays, and sets of them.

A set (`OBSERVABLES`) is what a study's section ``observables`` names: its fields join reference and generated samples,
where every metric can compare them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from parhelion.errors import ConfigError
from parhelion.observables.base import (
    Observables,
    ObservablesConfig,
    add_observables,
    observe,
    observed,
    require_scale,
    stream_observables,
    with_fields,
)
from parhelion.observables.cube import CubeObservables
from parhelion.observables.cylinder import CalochallengeObservables
from parhelion.observables.ecal import EcalObservables
from parhelion.observables.layered import CaloganObservables
from parhelion.sample import Schema

__all__ = [
    "OBSERVABLES",
    "CalochallengeObservables",
    "CaloganObservables",
    "CubeObservables",
    "EcalObservables",
    "Observables",
    "ObservablesConfig",
    "add_observables",
    "build",
    "observe",
    "observed",
    "require_kind",
    "require_scale",
    "stream_observables",
    "with_fields",
]

OBSERVABLES: Final[Mapping[str, type[Observables]]] = {
    kind.kind: kind for kind in (EcalObservables, CaloganObservables, CalochallengeObservables, CubeObservables)
}


def require_kind(kind: object) -> type[Observables]:
    """Class of a set by its key.

    Raises
    ------
    ConfigError
        There is no such set.
    """
    if not isinstance(kind, str) or kind not in OBSERVABLES:
        msg = f"{kind!r} is no set of observables; choose one of {', '.join(OBSERVABLES)}"
        raise ConfigError(msg)
    return OBSERVABLES[kind]


def build(chosen: Sequence[tuple[str, Any]], schema: Schema) -> tuple[Observables, ...]:
    """Sets of observables for a schema, from their keys and options (None: the defaults).

    Raises
    ------
    ConfigError
        There is no such set, the schema does not have what it needs, or two fields have one name.
    """
    sets = tuple(require_kind(kind)(schema, options) for kind, options in chosen)
    with_fields(schema, sets)
    return sets
