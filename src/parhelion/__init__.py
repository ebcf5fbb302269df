"""Parhelion: fast, judged, deployable copies of particle-physics simulations."""

from __future__ import annotations

__version__ = "0.1.0"
