"""From a trained surrogate to generated samples, and to a package that any program can run.

Names are loaded when they are first used: the runtime of packages needs neither the training framework nor the readers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parhelion.deploy.bookkeeping import content_checksum
    from parhelion.deploy.conditions import condition_layout
    from parhelion.deploy.exporting import export
    from parhelion.deploy.generation import OUTSIDE, OutsidePolicy, generate, generate_stream
    from parhelion.deploy.models import seen_values
    from parhelion.deploy.pipeline import generate_files
    from parhelion.deploy.runtime import Package

_HOME = {
    "OUTSIDE": "generation",
    "OutsidePolicy": "generation",
    "Package": "runtime",
    "condition_layout": "conditions",
    "content_checksum": "bookkeeping",
    "export": "exporting",
    "generate": "generation",
    "generate_files": "pipeline",
    "generate_stream": "generation",
    "seen_values": "models",
}

__all__ = [
    "OUTSIDE",
    "OutsidePolicy",
    "Package",
    "condition_layout",
    "content_checksum",
    "export",
    "generate",
    "generate_files",
    "generate_stream",
    "seen_values",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
