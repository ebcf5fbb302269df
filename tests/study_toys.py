"""A study small enough to run in a second, and the command line in this process."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import uproot

TINY = """\
title: tiny
seed: 3
data:
  train:
    kind: files
    files: toy.root
    condition:
      P: {unit: GeV, file_unit: MeV}
      pid: {kind: category, values: {pi: 211, K: 321}}
    response:
      a: {}
      b:
    weight: w
surrogate:
  kind: matching
  width: 16
  blocks: 1
  solver_steps: 2
training:
  steps: 20
  batch_size: 256
metrics:
  - histograms
  - structure
requirements:
  - {metric: structure, quantity: differing, max: 2}
"""


def columns(n: int = 3000, seed: int = 1) -> dict[str, np.ndarray]:
    """P in MeV and a species give a, and b that ties with a below 9 GeV; signed weights, a mass, an id."""
    g = np.random.default_rng(seed)
    p = np.exp(g.uniform(np.log(3.0), np.log(90.0), n))
    pid = g.choice([211, 321], n)
    a = np.log(p) + g.normal(size=n) + (pid == 321)
    b = np.where(p < 9.0, a, a + g.exponential(size=n))
    mass = np.where(np.arange(n) % 10 < 6, g.normal(1.86, 0.01, n), g.uniform(1.8, 1.93, n))
    return {"P": p * 1000, "pid": pid, "a": a, "b": b, "w": g.choice([1.2, -0.4], n, p=[0.8, 0.2]), "mass": mass}


def root_file(path: Path, data: dict[str, np.ndarray], tree: str = "DecayTree") -> Path:
    """A ROOT file as any other program writes it."""
    with uproot.recreate(path) as file:
        file[tree] = data
    return path


def change(*pairs: tuple[str, str]) -> str:
    """The tiny study with some text replaced."""
    text = TINY
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


class CommandLine:
    """Runs `parhelion ...` in this process; gives exit code, standard output, standard error."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *words: object) -> tuple[int, str, str]:
        from parhelion.cli import main

        self.monkeypatch.setattr(sys, "argv", ["parhelion", *map(str, words)])
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        out, err = self.capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    def refuse(self, *words: object) -> str:
        """Run what must be refused: exit code 2, one sentence, nothing on standard output."""
        code, out, err = self(*words)
        assert code == 2, err
        assert out == ""
        assert err.startswith("parhelion: ")
        assert err.count("\n") == 1, err
        assert "Traceback" not in err
        return err


def partial_files(folder: Path) -> list[Path]:
    """What an unfinished writer would leave."""
    return [p for p in folder.rglob("*") if "partial" in p.name]
