"""What the benchmarks on the RICH share: samples, the machine's description, tables."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from parhelion import generate, io
from parhelion.config import LoadedStudy, load_study
from parhelion.evaluation import MetricResult, evaluate
from parhelion.provenance import machine, versions
from parhelion.sample import Sample
from parhelion.sources import make_samples
from parhelion.surrogates import Surrogate


def rich_samples(folder: Path, *, rows: int, test_rows: int) -> tuple[LoadedStudy, Sample, Sample, Sample]:
    """Training, validation and test samples of the study `rich`, simulated once into a folder.

    Parameters
    ----------
    folder
        Where the samples are kept.
    rows, test_rows
        Rows to simulate for training and for the test (before the selection of true signal).
    """
    loaded = load_study("rich")
    data = loaded.config.data
    data = data.model_copy(
        update={
            "train": data.train.model_copy(update={"rows": rows}),
            "test": data.test.model_copy(update={"rows": test_rows}) if data.test is not None else None,
        }
    )
    loaded = loaded.model_copy(update={"config": loaded.config.model_copy(update={"data": data})})
    if not (folder / "data" / "test.h5").exists():
        make_samples(loaded, folder, say=print, show_progress=False)
    train, validation, test = (io.read(folder / "data" / f"{part}.h5") for part in ("train", "validation", "test"))
    return loaded, train, validation, test


def signal_only(sample: Sample) -> Sample:
    """True signal of a simulated calibration sample with weights 1: what real data never give."""
    kept = sample.take(sample["is_signal"] == 1)
    return kept.with_weight([1.0] * len(kept))


def judged(loaded: LoadedStudy, surrogate: Surrogate, test: Sample, *, seed: int) -> dict[str, object]:
    """Generate at the test sample's conditions and give the numbers that the verdict turns on."""
    start = time.perf_counter()
    made = generate(surrogate, test, seed=seed, outside="flag")
    rate = len(test) / (time.perf_counter() - start)
    inside = made["outside_domain"] == 0
    wanted = {"classifier", "auc_map", "efficiency", "structure"}
    chosen = [(name, options) for name, options in loaded.metrics if name in wanted]
    results = evaluate(test.take(inside), made.take(inside), chosen, seed=seed)
    by_name: dict[str, list[MetricResult]] = {}
    for result in results:
        by_name.setdefault(result.name, []).append(result)
    auc = by_name["classifier"][0].quantity("auc")
    maps, curves = by_name["auc_map"], by_name["efficiency"]
    return {
        "classifier AUC": f"{auc.value:.4f} +- {auc.error:.4f}",
        "null": f"{auc.null:.4f} +- {auc.null_error:.4f}",
        "mean dAUC": f"{max(m.quantity('mean').value for m in maps):.4f}",
        "null dAUC": f"{max(m.quantity('mean').null for m in maps):.4f}",
        "mean d efficiency": f"{max(c.quantity('mean').value for c in curves):.4f}",
        "null d efficiency": f"{max(c.quantity('mean').null for c in curves):.4f}",
        "ties differing": f"{max(s.quantity('differing').value for s in by_name['structure']):.1e}",
        "tracks/s": f"{rate:,.0f}",
    }


def describe(**settings: object) -> str:
    """One line with machine, threads, versions and settings."""
    found = versions()
    packages = ", ".join(f"{name} {found[name]}" for name in ("parhelion", "torch", "numpy") if name in found)
    rest = ", ".join(f"{key} {value}" for key, value in settings.items())
    return f"{machine()}; {torch.get_num_threads()} threads; {packages}; {rest}"


def table(rows: list[dict[str, object]]) -> str:
    """Rows with equal keys as a Markdown table."""
    keys = list(rows[0])
    lines = ["| " + " | ".join(keys) + " |", "|" + "---|" * len(keys)]
    lines += ["| " + " | ".join(str(row[key]) for key in keys) + " |" for row in rows]
    return "\n".join(lines)
