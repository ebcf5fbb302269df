"""Parhelion: fast, judged, deployable copies of particle-physics simulations.

The names below are loaded when they are first used, so that ``import parhelion`` stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parhelion.deploy import generate
    from parhelion.io import iterate, read, write
    from parhelion.sample import Field, Sample, Schema
    from parhelion.study import Study
    from parhelion.surrogates import load
    from parhelion.training import fit

__version__ = "0.1.0"

_HOME = {
    "Field": "parhelion.sample",
    "Sample": "parhelion.sample",
    "Schema": "parhelion.sample",
    "Study": "parhelion.study",
    "fit": "parhelion.training",
    "generate": "parhelion.deploy",
    "iterate": "parhelion.io",
    "load": "parhelion.surrogates",
    "read": "parhelion.io",
    "write": "parhelion.io",
}

__all__ = ["Field", "Sample", "Schema", "Study", "fit", "generate", "iterate", "load", "read", "write"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    msg = f"module 'parhelion' has no attribute {name!r}"
    raise AttributeError(msg)
