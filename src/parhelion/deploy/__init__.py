"""From a trained surrogate to generated samples."""

from __future__ import annotations

from parhelion.deploy.conditions import condition_layout
from parhelion.deploy.generation import OUTSIDE, OutsidePolicy, generate, generate_stream
from parhelion.deploy.models import seen_values

__all__ = ["OUTSIDE", "OutsidePolicy", "condition_layout", "generate", "generate_stream", "seen_values"]
