"""Load the toy of the evaluation tests."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def pid() -> ModuleType:
    path = Path(__file__).parent.parent / "evaluation" / "pid_toy.py"
    spec = importlib.util.spec_from_file_location("pid_toy_of_statistics", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
