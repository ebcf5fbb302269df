"""Fidelity of calorimeter surrogates on held-out showers, all in one table beside the null.

Run with ``python benchmarks/ecal.py SHOWERS.h5 ecal library-1 library-8 my.safetensors``: a family is the name or path
of a study (trained here by its own recipe on the rows that are not held out), a surrogate file, or ``library-k``; a
file of showers (.h5) is judged as it is. SHOWERS.h5 comes from ``parhelion simulate ecal`` (or holds ``energy``
(n, 30, 30) and ``condition`` (n, 5)). The null is a second sample of the simulation's own rows of the same size. Cells
below the threshold are left out of reference and surrogates alike, so sparsity and spectrum are judged above it. With
``--more OTHER.h5`` its showers train too, and studies take steps in proportion; the same ones are judged.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import norm

from common import describe, table
from parhelion import generate, io
from parhelion.config import load_study
from parhelion.evaluation import METRICS, evaluate, separation_power
from parhelion.observables import EcalObservables, add_observables, observe, observed
from parhelion.observables.ecal import EcalConfig
from parhelion.sample import Field, Sample, Schema
from parhelion.surrogates import SURROGATES, Library, Surrogate, load
from parhelion.training import fit

FloatArray = npt.NDArray[np.float64]

BINS, REPLICAS = 50, 200
ENERGIES = (1.0, 1.5, 2.5, 4.0, 8.0, 16.0, 100.0)
LECTURE = ("width_along", "width_across", "asymmetry_along", "asymmetry_across", "shift_x", "shift_y")
FIELDS = Schema(
    (*(Field(n, "GeV") for n in ("px", "py", "pz")), Field("x", "mm"), Field("y", "mm")),
    (Field("energy", "GeV", (30, 30)),),
)


@dataclass(frozen=True)
class Showers:
    """A sample with what is computed from it once."""

    sample: Sample
    seen: Sample
    cells: FloatArray

    @classmethod
    def of(cls, sample: Sample, threshold: float) -> Showers:
        """Cut the cells and compute the observables."""
        energy = np.asarray(sample["energy"], dtype=np.float32)
        energy = np.where(energy >= threshold, energy, np.float32(0.0))
        kept = Sample(
            FIELDS,
            {**{n: sample[n] for n in ("px", "py", "pz", "x", "y")}, "energy": energy},
            event_id=sample.event_id,
            source=sample.source,
        )
        sets = (EcalObservables(FIELDS, EcalConfig(threshold=threshold)),)
        seen = observe(add_observables(kept, sets), observed(FIELDS, sets))
        return cls(kept, seen, np.log10(energy[energy > 0]).astype(np.float64))


def read(path: Path) -> Sample:
    """Showers of a file of this library, or of one with ``energy`` and ``condition``."""
    with h5py.File(path) as file:
        plain = "condition" in file and isinstance(file["condition"], h5py.Dataset)
        if plain:
            columns = dict(zip(("px", "py", "pz", "x", "y"), file["condition"][()].astype(np.float64).T, strict=True))
            return Sample(FIELDS, {**columns, "energy": file["energy"][()]}, source=path.name)
    return io.read(path)


def together(*samples: Sample) -> Sample:
    """Showers after each other, numbered afresh."""
    names = [f.name for f in (*FIELDS.condition, *FIELDS.response)]
    columns = {name: np.concatenate([np.asarray(s[name]) for s in samples]) for name in names}
    return Sample(FIELDS, columns, source=samples[0].source)


def separation(a: FloatArray, b: FloatArray, edges: FloatArray, seed: int) -> tuple[float, float]:
    """Separation power with under- and overflow, and its error from Poisson replicas of both samples."""
    wide = np.concatenate([[-np.inf], edges[1:-1], [np.inf]])
    counts = [np.histogram(v, wide)[0] for v in (a, b)]
    value = separation_power(*(c / c.sum() for c in counts))
    g = np.random.default_rng(seed)
    drawn = [[g.poisson(c) for c in counts] for _ in range(REPLICAS)]
    spread = np.std([separation_power(*(c / c.sum() for c in pair)) for pair in drawn])
    return float(value), float(spread)


def edges_of(values: FloatArray) -> FloatArray:
    """Bins between the outer thousandths."""
    return np.linspace(*np.quantile(values, [0.001, 0.999]), BINS + 1)


def distributions(reference: Showers, other: Showers, seed: int) -> dict[str, object]:
    """Separation powers, and the largest deviation of the sparsity curve."""
    row: dict[str, object] = {}
    for name in LECTURE:
        a, b = (np.asarray(s.seen[name], dtype=np.float64) for s in (reference, other))
        value, error = separation(a, b, edges_of(a), seed)
        row[f"S {name}"] = f"{value:.4f} +- {error:.4f}"
    value, error = separation(reference.cells, other.cells, np.linspace(reference.cells.min(), 1.1, 61), seed)
    row["S cells"] = f"{value:.5f} +- {error:.5f}"
    a, b = (np.asarray(s.seen["sparsity"], dtype=np.float64) for s in (reference, other))
    error_of = np.sqrt(a.var(axis=0) / len(a) + b.var(axis=0) / len(b))
    pull = (b.mean(axis=0) - a.mean(axis=0)) / error_of
    row["sparsity, largest pull"] = f"{np.abs(pull).max():.1f}"
    row["sparsity, largest shift"] = f"{np.abs(b.mean(axis=0) / a.mean(axis=0) - 1).max():.2%}"
    return row


def effective(response: FloatArray) -> float:
    """Effective resolution: half the width of the central 68.3 % over the median."""
    low, middle, high = np.quantile(response, norm.cdf([-1.0, 0.0, 1.0]))
    return float((high - low) / (2 * middle))


def energy_bins(reference: Showers, other: Showers, seed: int) -> list[dict[str, object]]:
    """Response, resolution and effective resolution relative to the reference in bins of energy."""
    rows: list[dict[str, object]] = []
    g = np.random.default_rng(seed)
    for low, high in pairwise(ENERGIES):
        mean, spread, errors, narrow, narrow_errors = [], [], [], [], []
        for showers in (reference, other):
            p = np.asarray(showers.seen["incident_energy"], dtype=np.float64)
            r = np.asarray(showers.seen["response"], dtype=np.float64)[(p >= low) & (p < high)]
            centre, n = r.mean(), len(r)
            deviation = r - centre
            kurtosis = np.mean(deviation**4) / r.var() ** 2
            mean.append(centre)
            spread.append(r.std() / centre)
            errors.append((r.std() / centre / np.sqrt(n), np.sqrt(max(kurtosis - 1, 0.0) / n) / 2))
            narrow.append(effective(r))
            narrow_errors.append(np.std([effective(g.choice(r, n)) for _ in range(REPLICAS)]) / narrow[-1])
        rows.append(
            {
                "GeV": f"{low:g} to {high:g}",
                "showers": n,
                "response - 1": f"{mean[1] / mean[0] - 1:+.2%} +- {np.hypot(errors[0][0], errors[1][0]):.2%}",
                "resolution - 1": f"{spread[1] / spread[0] - 1:+.1%} +- {np.hypot(errors[0][1], errors[1][1]):.1%}",
                "effective resolution - 1": f"{narrow[1] / narrow[0] - 1:+.1%} +- {np.hypot(*narrow_errors):.1%}",
            }
        )
    return rows


def judged(reference: Showers, other: Showers, seed: int) -> dict[str, object]:
    """Classifiers on observables and on cells, Frechet and kernel distance on observables."""
    row: dict[str, object] = {}

    def options(name: str, **given: Any) -> tuple[str, Any]:
        return name, METRICS[name].options(**given)

    high = [options("classifier", importance=False), options("frechet"), options("kernel_distance")]
    for result in evaluate(reference.seen, other.seen, high, seed=seed):
        main = next(iter(result.quantities.values()))
        name = "AUC observables" if result.name == "classifier" else result.name
        row[name] = f"{main.value:.4f} +- {main.error:.4f} (null {main.null:.4f} +- {main.null_error:.4f})"
    low = [options("classifier", learners=("trees",), importance=False, train_null=False)]
    cells = evaluate(reference.sample, other.sample, low, seed=seed)[0].quantity("auc")
    row["AUC cells"] = f"{cells.value:.4f} +- {cells.error:.4f}"
    return row


def surrogate_of(
    family: str, train: Sample, validation: Sample, codec: Any, seed: int, times: float
) -> tuple[Surrogate, str]:
    """Surrogate of a name, trained for so many times its study's steps, and a word on how it came about."""
    if Path(family).suffix == ".safetensors":
        made = load(family)
        return made, f"{made.provenance.get('training', {}).get('seconds', 0):.0f} s of training"
    start = time.process_time()
    if family.startswith("library-"):
        options = {"k": int(family.removeprefix("library-")), "codec": codec}
        made = Library(train.schema, Library.Config.model_validate(options))
        fit(made, train, config=load_study("ecal").config.training)
    else:
        study = load_study(family)
        made = SURROGATES[study.family](train.schema, study.surrogate)
        training = study.config.training
        if times != 1 and training.steps is not None:
            training = training.model_copy(update={"steps": round(times * training.steps)})
        fit(made, train, config=training, validation=validation, seed=seed)
        made.save(f"{study.name}.safetensors")
    return made, f"{time.process_time() - start:.0f} s of training"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("showers", type=Path)
    parser.add_argument("families", nargs="*", default=["ecal", "library-1", "library-8"])
    parser.add_argument("--test-rows", type=int, default=10_000, help="held-out showers; the null takes as many more")
    parser.add_argument("--threshold", type=float, default=1e-5, help="GeV, of reference and generated cells")
    parser.add_argument("--train-rows", type=int, help="showers to train on; all that are left if not given")
    parser.add_argument("--times", type=float, help="steps of training, relative to the study's")
    parser.add_argument("--more", type=Path, help="showers that train too, and are not judged")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    sample = read(options.showers)
    order = np.random.default_rng(0).permutation(len(sample))
    n = min(options.test_rows, len(sample) // 3)
    test, rest = sample.take(order[:n]), sample.take(order[n:])
    validation, train = rest.take(slice(0, 1500)), rest.take(slice(1500, None))
    null, times = train.take(slice(0, n)), 1.0
    if options.more is not None:
        train = together(train, read(options.more))
        times = len(train) / (len(sample) - n - len(validation))
    train = train.take(slice(0, options.train_rows))
    times = times if options.times is None else options.times
    reference = Showers.of(test, options.threshold)
    study = load_study("ecal")
    codec = {**study.surrogate.codec.model_dump(), "threshold": options.threshold}
    print(describe(showers=n, trained_on=len(train), threshold_GeV=options.threshold, seed=options.seed))
    main_rows: list[dict[str, object]] = []
    bins: list[dict[str, object]] = []
    for family in ("null", *options.families):
        if family == "null":
            other, how = Showers.of(null, options.threshold), "the simulation itself"
            rate = float("nan")
        elif Path(family).suffix == ".h5":
            other, how = Showers.of(read(Path(family)).take(slice(0, n)), options.threshold), "another simulation"
            rate = float("nan")
        else:
            made, how = surrogate_of(family, train, validation, codec, options.seed, times)
            start = time.process_time()
            drawn = generate(made, test, seed=options.seed, outside="flag", batch_rows=1000)
            rate = (time.process_time() - start) / n * 1e6
            other = Showers.of(drawn, options.threshold)
        name = Path(family).stem
        first = {"family": name, "made by": how, "us/shower": f"{rate:.0f}"}
        main_rows.append(first | distributions(reference, other, options.seed) | judged(reference, other, options.seed))
        bins += [{"family": name} | row for row in energy_bins(reference, other, options.seed)]
        print(f"{name} judged", flush=True)
    print(table([{"": key, **{str(row["family"]): row[key] for row in main_rows}} for key in main_rows[0]]))
    print()
    print(table(bins))


if __name__ == "__main__":
    main()
