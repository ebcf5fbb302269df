"""Training of any surrogate: budgets, schedules, averages, checkpoints, several processes."""

from __future__ import annotations

from parhelion.training.config import TrainingConfig
from parhelion.training.loop import fit
from parhelion.training.progress import Progress, Status
from parhelion.training.run import FitResult
from parhelion.training.tracking import Curve, read_curves
from parhelion.training.validation import SlicedEnergy, ValidationLoss

__all__ = [
    "Curve",
    "FitResult",
    "Progress",
    "SlicedEnergy",
    "Status",
    "TrainingConfig",
    "ValidationLoss",
    "fit",
    "read_curves",
]
