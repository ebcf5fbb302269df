"""Showers by dividing energy down a pyramid of blocks: likelihood-trained, exact in total, threshold and zeros."""

from __future__ import annotations

from parhelion.surrogates.cascade.family import Cascade, CascadeConfig

__all__ = ["Cascade", "CascadeConfig"]
