"""The toy of the evaluation tests, also used by the statistical ones."""

from __future__ import annotations

from types import ModuleType

import pid_toy
import pytest


@pytest.fixture(scope="session")
def pid() -> ModuleType:
    return pid_toy
