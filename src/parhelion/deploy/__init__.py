"""From a trained surrogate to generated samples."""

from __future__ import annotations

from parhelion.deploy.bookkeeping import content_checksum
from parhelion.deploy.conditions import condition_layout
from parhelion.deploy.generation import OUTSIDE, OutsidePolicy, generate, generate_stream
from parhelion.deploy.models import seen_values
from parhelion.deploy.pipeline import generate_files

__all__ = [
    "OUTSIDE",
    "OutsidePolicy",
    "condition_layout",
    "content_checksum",
    "generate",
    "generate_files",
    "generate_stream",
    "seen_values",
]
