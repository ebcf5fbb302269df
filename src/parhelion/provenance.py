"""What made a file: versions, machine, seeds."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from parhelion.sample import Sample

_PACKAGES = ("parhelion", "torch", "numpy", "scipy", "scikit-learn", "numba", "zuko", "uproot", "iminuit")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that shape results; a missing optional one is left out."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine() -> str:
    """Processor, cores in use and GPU in one line; no host name."""
    import torch

    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{model}, {cores()} cores{gpu}"


def made_by(study: str, seed: int, sample: Sample) -> dict[str, Any]:
    """What a surrogate's file says of its origin: study, seed, versions, machine, rows and their effective number."""
    return {
        "study": study,
        "seed": seed,
        "versions": versions(),
        "machine": machine(),
        "rows": len(sample),
        "effective_sample_size": sample.weights.effective,
    }
