"""Small surrogates, and their C files as shared libraries."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import torch

from parhelion.deploy.cfile import write_c
from parhelion.sample import Sample
from parhelion.surrogates import SURROGATES, Surrogate

COMPILER = shutil.which("cc") or shutil.which("gcc")
STRICT = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror"]


def student(sample: Sample, form: str = "displacement") -> Surrogate:
    """A student that is not trained, but not the identity either."""
    kind, options = "matching", {"width": 8, "blocks": 1}
    if form == "quantiles":
        kind, options = "flow", {"map": "spline_chain", "layers": 1, "width": 8, "bins": 4}
    teacher = SURROGATES[kind](sample.schema, SURROGATES[kind].Config.model_validate(options))
    teacher.prepare(sample, seed=1)
    config = SURROGATES["student"].Config.model_validate({"map": form, "width": 28, "blocks": 2})
    made = SURROGATES["student"](sample.schema, config)
    made.learn_from(teacher, seed=2)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(3)
        for p in made.parameters():
            p += 0.1 * torch.randn_like(p)
    return made.eval()


class Compiled:
    """A C file as a shared library."""

    def __init__(self, surrogate: Surrogate, folder: Path, *flags: str) -> None:
        write_c(surrogate, folder / "net.c")
        command = [
            str(COMPILER),
            *STRICT,
            *flags,
            "-shared",
            "-fPIC",
            str(folder / "net.c"),
            "-o",
            str(folder / "net.so"),
            "-lm",
        ]
        subprocess.run(command, check=True)
        self.library = ctypes.CDLL(str(folder / "net.so"))
        self.width, self.noise_width = surrogate.schema.response_width, surrogate.noise_width

    def noise(self, seed: int, event: np.ndarray, stage: int) -> np.ndarray:
        out = np.empty((len(event), self.noise_width), dtype=np.float32)
        for i, e in enumerate(event):
            self.library.net_noise(
                ctypes.c_uint64(seed),
                ctypes.c_uint64(int(e)),
                ctypes.c_uint32(stage),
                out[i].ctypes.data_as(ctypes.c_void_p),
            )
        return out

    def respond(self, condition: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Responses to given noise, row by row."""
        out = np.empty((len(condition), self.width), dtype=np.float32)
        for i in range(len(condition)):
            given = [np.ascontiguousarray(condition[i]), np.ascontiguousarray(noise[i]), out[i]]
            self.library.net_respond(*(a.ctypes.data_as(ctypes.c_void_p) for a in given))
        return out

    def generate(
        self, condition: np.ndarray, event: np.ndarray, seed: int, mode: int
    ) -> tuple[int, np.ndarray, np.ndarray, int]:
        c, e = np.ascontiguousarray(condition), np.ascontiguousarray(event, dtype=np.uint64)
        out = np.full((len(c), self.width), np.nan, dtype=np.float32)
        outside, count = np.zeros(len(c), dtype=np.uint8), ctypes.c_size_t()
        code = self.library.net_generate(
            ctypes.c_size_t(len(c)),
            c.ctypes.data_as(ctypes.c_void_p),
            e.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_uint64(seed),
            ctypes.c_uint32(0),
            mode,
            out.ctypes.data_as(ctypes.c_void_p),
            outside.ctypes.data_as(ctypes.c_void_p),
            ctypes.byref(count),
        )
        return code, out, outside, int(count.value)
