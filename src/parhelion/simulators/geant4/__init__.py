"""Geant4 as an engine: a detector as plain numbers, one engine in each worker process, tables where none are installed.

The parent process never imports Geant4 and never changes its own environment.
"""

from parhelion.simulators.geant4.detector import BoxGrid, Detector, Segment, Slab, TubeGrid
from parhelion.simulators.geant4.environment import Engine, engine
from parhelion.simulators.geant4.workers import Deposits, Primaries, run

__all__ = ["BoxGrid", "Deposits", "Detector", "Engine", "Primaries", "Segment", "Slab", "TubeGrid", "engine", "run"]
