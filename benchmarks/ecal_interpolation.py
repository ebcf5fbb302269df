"""Held-out energies: the default calorimeter surrogate in a band of momenta that it never saw.

Run with ``python benchmarks/ecal_interpolation.py SHOWERS.h5``. Two surrogates of the study `ecal` are trained for the
same number of steps, one on all momenta and one without those in the band, and judged on held-out showers in the band
alone, beside the null (a second sample of the simulation in the band). SHOWERS.h5 is as for ``ecal.py``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from common import describe, table
from ecal import Showers, distributions, judged, read
from parhelion import generate
from parhelion.config import load_study
from parhelion.sample import Sample
from parhelion.surrogates import SURROGATES
from parhelion.training import fit


def within(sample: Sample, low: float, high: float) -> np.ndarray:
    """Which rows have their momentum in the band."""
    p = np.sqrt(sum(np.asarray(sample[name], dtype=np.float64) ** 2 for name in ("px", "py", "pz")))
    found: np.ndarray = (p >= low) & (p < high)
    return found


def response(reference: Showers, other: Showers) -> dict[str, object]:
    """Response and resolution relative to the reference."""
    values = [np.asarray(s.seen["response"], dtype=np.float64) for s in (reference, other)]
    mean, spread = ([f(v) for v in values] for f in (np.mean, lambda v: v.std() / v.mean()))
    size = [s / np.sqrt(len(v)) for s, v in zip(spread, values, strict=True)]
    shape = [np.sqrt(max(np.mean((v - v.mean()) ** 4) / v.var() ** 2 - 1, 0.0) / len(v)) / 2 for v in values]
    return {
        "response - 1": f"{mean[1] / mean[0] - 1:+.2%} +- {np.hypot(*size):.2%}",
        "resolution - 1": f"{spread[1] / spread[0] - 1:+.1%} +- {np.hypot(*shape):.1%}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("showers", type=Path)
    parser.add_argument("--band", type=float, nargs=2, default=(4.0, 8.0), help="GeV")
    parser.add_argument("--steps", type=int, default=2000, help="of training, each")
    parser.add_argument("--threshold", type=float, default=1e-5, help="GeV, of reference and generated cells")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    sample = read(options.showers)
    sample = sample.take(np.random.default_rng(0).permutation(len(sample)))
    inside = np.flatnonzero(within(sample, *options.band))
    third = len(inside) // 3
    # Judged, null, and a rest of the band that only one of the two learns from.
    test, second = sample.take(inside[:third]), sample.take(inside[third : 2 * third])
    everywhere = np.setdiff1d(np.arange(len(sample)), inside[: 2 * third])
    validation, everywhere = everywhere[:1000], everywhere[1000:]
    study = load_study("ecal")
    training = study.config.training.model_copy(update={"steps": options.steps, "seconds": None})
    reference = Showers.of(test, options.threshold)
    rows: list[dict[str, object]] = []
    for name, chosen in (
        ("null", None),
        ("trained with the band", everywhere),
        ("trained without", np.setdiff1d(everywhere, inside)),
    ):
        if chosen is None:
            other = Showers.of(second, options.threshold)
        else:
            made = SURROGATES[study.family](sample.schema, study.surrogate)
            known = sample.take(np.setdiff1d(validation, inside))
            fit(made, sample.take(chosen), config=training, validation=known, seed=options.seed)
            other = Showers.of(generate(made, test, seed=options.seed, outside="flag"), options.threshold)
        row = {"": name, "trained on": 0 if chosen is None else len(chosen), **response(reference, other)}
        rows.append(row | distributions(reference, other, options.seed) | judged(reference, other, options.seed))
        print(f"{name}: judged", flush=True)
    low, high = options.band
    print(describe(band_GeV=f"{low:g} to {high:g}", showers=third, steps=options.steps, seed=options.seed))
    print(table([{"": key, **{str(row[""]): row[key] for row in rows}} for key in list(rows[0])[1:]]))


if __name__ == "__main__":
    main()
