"""The CaloChallenge's published evaluation on two files of showers, beside published numbers.

    python benchmarks/calochallenge_protocol.py REFERENCE [GENERATED] --dataset 2 [--seeds 3] [--low] [--normed]

REFERENCE and GENERATED are files of the challenge or of `parhelion simulate cylinder`. Without GENERATED the reference
is divided into two halves: the null, what Geant4 against Geant4 gives at this size. With `--library K` a library (one
of the K nearest showers in energy), with `--study NAME` the surrogate of a study, learns from the second half and is
judged by the first.

- S: separation powers of the published histograms (published binning and range, 1e-16 in the denominator), averaged
  over the layers, times 1000. The null is (bins - 1) / 4 (1/n + 1/m), which holds where all showers and bins are
  filled: empty bins lower it, showers without energy in a layer, which are not seen, raise it.
- FPD, KPD: published estimators (batches with replacement, published seed) on the published features, times 1000. Where
  there are fewer rows than the published batches of 10,000 to 50,000, the batches are n / 5 to n (FPD) and n / 2 (KPD).
- FPD without bias: the library's own estimator on the same features and scaling.
- AUC: the published dense classifier (2048 units, 50 epochs, float64, isotonic calibration); mean and standard
  deviation over seeds. `high` sees the features, `low` the voxels over the incident energy, `normed` over the layers'.

What may be compared with the published rows, and what not, is printed below the table.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from common import describe, table
from parhelion import generate, io
from parhelion.config import load_study
from parhelion.errors import DataError
from parhelion.evaluation import METRICS
from parhelion.evaluation.classifiers.calochallenge_protocol import (
    ChallengeShowers,
    DenseClassifier,
    dense_classifier,
    published_features,
    published_separations,
)
from parhelion.evaluation.distances.calochallenge import calochallenge_fpd, calochallenge_kpd
from parhelion.io.binning import DATASETS, Geometry
from parhelion.io.calochallenge import read_showers
from parhelion.io.energies import energy_factor, find_cells, find_incident
from parhelion.observables.calochallenge import cut, normed_voxel_vector, voxel_vector
from parhelion.sample import Field, Sample, Schema
from parhelion.surrogates import SURROGATES, Library, Surrogate
from parhelion.training import fit

# FPD x 1000, KPD x 1000, AUC low, AUC high, <S of layer energies> x 1000: final results of arXiv:2410.21611.
PUBLISHED = {
    "1-photons": {
        "Geant4": ("0.12 +- 0.05", "0.03 +- 0.06", "0.499", "0.500", "0.20"),
        "CaloDiffusion": ("0.65 +- 0.13", "-0.01 +- 0.05", "0.635", "0.536", "1.1"),
        "CaloINN": ("3.9 +- 0.2", "0.2 +- 0.2", "0.626", "0.638", "1.6"),
        "BoloGAN": ("142 +- 1", "11.6 +- 1.2", "0.927", "0.966", "9.2"),
    },
    "1-pions": {
        "Geant4": ("0.51 +- 0.07", "-0.01 +- 0.04", "0.609", "0.558", "0.20"),
        "CaloDiffusion": ("2.8 +- 0.1", "0.09 +- 0.06", "0.680", "0.652", "15"),
    },
    "2": {
        "Geant4": ("10.8 +- 0.8", "-0.03 +- 0.02", "0.500", "0.499", "0.24"),
        "CaloDREAM": ("24.6 +- 1.0", "0.02 +- 0.04", "0.531", "0.521", "1.4"),
        "CaloDiffusion": ("147 +- 1", "0.17 +- 0.04", "0.577", "0.591", "1.4"),
        "CaloINN": ("733", "2.8", "0.743", "0.865", "8.1"),
        "MDMA": ("865 +- 5", "5.0 +- 0.3", "0.942", "0.987", "2.9"),
    },
    "3": {
        "Geant4": ("8.8 +- 0.6", "-0.01 +- 0.05", "0.498", "0.500", "0.25"),
        "CaloDREAM": ("20.7 +- 1.1", "0.01 +- 0.02", "0.630", "0.524", "0.97"),
        "CaloDiffusion": ("71 +- 2", "0.23 +- 0.10", "0.561", "0.607", "1.1"),
    },
}
LIMITS = """\
Comparable: the definitions of features, histograms, classifiers and estimators, and how far a model is from its own
null at the same number of showers (the halves of the reference).
Not comparable: the values themselves. The published rows have 100,000 showers a sample, of the challenge's own Geant4
set-up over its full range of energies; here {n:,} and {m:,} showers of another simulation. FPD as published keeps
a bias that falls as 1/n, S is positive in the null and falls as 1/n, a classifier of fewer showers sees less (an
AUC near 0.5 from few showers is no merit), and batches smaller than the published ones change FPD and KPD."""
KINDS = ("response", "energy", "centre_eta", "centre_phi", "width_eta", "width_phi", "sparsity", "centre_r", "width_r")


def load(path: str, geometry: Geometry) -> ChallengeShowers:
    """Showers of a file that declares its fields, or else of a file of the challenge."""
    sample = io.read(path) if io.stored_layout(path) is not None else read_showers(path, geometry)
    incident, cells = find_incident(sample.schema), find_cells(sample.schema, [geometry.shape, (geometry.voxels,)])
    energies = sample[incident.name].astype(np.float64) * (energy_factor(incident, "MeV") or 1.0)
    voxels = sample[cells.name].reshape(len(sample), -1)
    factor = energy_factor(cells, "MeV") or 1.0
    return ChallengeShowers(energies, voxels if factor == 1 else (voxels * factor).astype(voxels.dtype))


def halves(showers: ChallengeShowers, seed: int) -> tuple[ChallengeShowers, ChallengeShowers]:
    """Two random halves."""
    order = np.random.default_rng(seed).permutation(len(showers.incident))
    parts = (np.sort(order[::2]), np.sort(order[1::2]))
    first, second = (ChallengeShowers(showers.incident[rows], showers.voxels[rows]) for rows in parts)
    return first, second


def sample_of(showers: ChallengeShowers, geometry: Geometry) -> Sample:
    """Showers as a sample."""
    schema = Schema((Field("incident_energy", "MeV"),), (Field("showers", "MeV", geometry.shape),))
    voxels = showers.voxels.reshape(-1, *geometry.shape)
    return Sample(schema, {"incident_energy": showers.incident, "showers": voxels})


def answered(surrogate: Surrogate, ours: ChallengeShowers, geometry: Geometry, seed: int) -> ChallengeShowers:
    """Showers of a surrogate at the energies of `ours`."""
    start = time.process_time()
    made = generate(surrogate, sample_of(ours, geometry), seed=seed, outside="clamp")
    print(f"{1e3 * (time.process_time() - start) / len(ours.incident):.2f} CPU ms a shower", flush=True)
    return ChallengeShowers(ours.incident, made["showers"].reshape(ours.voxels.shape).astype(ours.voxels.dtype))


def looked_up(geometry: Geometry, theirs: ChallengeShowers, k: int, seed: int) -> Surrogate:
    """A library of `theirs`."""
    second = sample_of(theirs, geometry)
    options = {"k": k, "codec": {"response": [], "knots": 0}}
    library = Library(second.schema, Library.Config.model_validate(options))
    library.prepare(second, seed=seed)
    return library


def learned(geometry: Geometry, theirs: ChallengeShowers, name: str, seed: int) -> Surrogate:
    """The surrogate of a study, trained by its recipe on `theirs`, a twentieth of which validate."""
    study, second = load_study(name), sample_of(theirs, geometry)
    codec = study.surrogate.codec.model_copy(update={"threshold": geometry.threshold})
    config = study.surrogate.model_copy(update={"codec": codec})
    surrogate = SURROGATES[study.family](second.schema, config)
    cut = len(second) // 20
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    start = time.process_time()
    rows, validation = second.take(slice(cut, None)), second.take(slice(0, cut))
    result = fit(surrogate, rows, config=study.config.training, validation=validation, seed=seed)
    print(f"{study.name}: {result.steps:,} steps, {time.process_time() - start:.0f} CPU s", flush=True)
    torch.set_num_threads(threads)
    surrogate.save(f"{study.name}.safetensors")
    return surrogate


def distances(ours: np.ndarray, theirs: np.ndarray, seed: int) -> dict[str, str]:
    """FPD and KPD by the published estimators and FPD without bias, in thousandths."""
    largest = np.abs(ours).max(axis=0)
    scale = np.where(largest > 0, largest, 1.0)
    x, y = ours / scale, theirs / scale
    n = min(len(x), len(y))
    top, batch = min(50_000, n), min(10_000, n // 2)
    fpd = calochallenge_fpd(x, y, min_samples=min(10_000, top // 5), max_samples=top)
    kpd = calochallenge_kpd(x, y, batch_size=batch)
    schema = Schema((), (Field("features", "", (x.shape[1],)),))
    samples = [Sample(schema, {"features": rows}) for rows in (ours, theirs)]
    options = METRICS["frechet"].options(scaling="max", conditions=False)
    own = METRICS["frechet"].compute(*samples, options, seed=seed)[0].quantity("fpd")
    return {
        "FPD x 1000": f"{1e3 * fpd[0]:.3g} +- {1e3 * fpd[1]:.2g}",
        "KPD x 1000": f"{1e3 * kpd[0]:.3g} +- {1e3 * kpd[1]:.2g}",
        "FPD without bias x 1000": f"{1e3 * own.value:.3g} +- {1e3 * own.error:.2g}",
    }


def aucs(ours: np.ndarray, theirs: np.ndarray, settings: DenseClassifier, seeds: int) -> str:
    """Mean and standard deviation over seeds of the published classifier's AUC."""
    found = [dense_classifier(ours, theirs, settings, seed=seed).auc for seed in range(seeds)]
    return f"{np.mean(found):.3f} +- {np.std(found, ddof=1) if seeds > 1 else np.nan:.3f}"


def main() -> None:
    """Run the protocol and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference")
    parser.add_argument("generated", nargs="?")
    parser.add_argument("--dataset", choices=list(DATASETS), default="2")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1, help="of the halves and the estimator without bias")
    parser.add_argument("--library", type=int, metavar="K", help="judge a library of one half by the other")
    parser.add_argument("--study", help="train this study's surrogate on one half, judge it by the other")
    parser.add_argument("--low", action="store_true", help="the low-level classifier too: minutes to hours on a CPU")
    parser.add_argument("--normed", action="store_true", help="the one with normalised layers too")
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--single", action="store_true", help="single precision, not the published double")
    args = parser.parse_args()
    if args.library is not None and args.library < 1:
        parser.error("--library K takes K >= 1")
    if sum(x is not None for x in (args.library, args.study, args.generated)) > 1:
        parser.error("give one of GENERATED, --library and --study: what is judged")
    geometry = DATASETS[args.dataset]
    reference = load(args.reference, geometry)
    if args.generated:
        ours, theirs = reference, load(args.generated, geometry)
    else:
        ours, theirs = halves(reference, args.seed)
        if args.library:
            theirs = answered(looked_up(geometry, theirs, args.library, args.seed), ours, geometry, args.seed)
        elif args.study:
            theirs = answered(learned(geometry, theirs, args.study, args.seed), ours, geometry, args.seed)
    if min(len(ours.incident), len(theirs.incident)) < 100:
        msg = (
            f"{len(ours.incident)} and {len(theirs.incident)} showers are too few for this protocol; give at least 100"
        )
        raise DataError(msg)
    n, m = len(ours.incident), len(theirs.incident)
    settings = DenseClassifier(width=args.width, epochs=args.epochs, double=not args.single)
    print(describe(reference=n, generated=m, dataset=args.dataset, seeds=args.seeds, classifier=settings))
    start = time.perf_counter()
    found = published_separations(ours, theirs, geometry)
    by_kind = {kind: [v for name, v in found.items() if name.rpartition("_")[0] == kind] for kind in KINDS[1:]}
    by_kind["response"] = [found["response"]] if "response" in found else []
    # Expectation for two samples of one distribution: (occupied bins - 1) / 4 (1/n + 1/m); bins as published.
    bins = {"response": 100, "energy": 39, "sparsity": 20}
    rows = [
        {
            "histogram": kind,
            "layers": len(by_kind[kind]),
            "<S> x 1000": f"{1e3 * np.mean(by_kind[kind]):.3g}" if by_kind[kind] else "-",
            "null x 1000, all bins filled": f"{1e3 * (bins.get(kind, 100) - 1) / 4 * (1 / n + 1 / m):.3g}",
        }
        for kind in KINDS
    ]
    rows.append(dict(zip(rows[0], ("voxel", "-", f"{1e3 * found['voxel']:.3g}", "-"), strict=True)))
    print(table(rows))
    features = [published_features(s, geometry) for s in (ours, theirs)]
    model = "Geant4, this file's halves"
    if args.library or args.study:
        model = f"{args.study or f'library, k = {args.library}'}, of one half"
    mine: dict[str, object] = {"model": "this file" if args.generated else model}
    mine |= distances(*features, args.seed)
    mine["AUC high"] = aucs(*features, settings, args.seeds)
    kept = [ChallengeShowers(s.incident, cut(s.voxels, geometry)) for s in (ours, theirs)]
    mine["AUC low"] = (
        aucs(*(voxel_vector(s.voxels, s.incident) for s in kept), settings, args.seeds) if args.low else "not run"
    )
    if args.normed:
        vectors = (normed_voxel_vector(s.voxels, s.incident, geometry) for s in (ours, theirs))
        print(f"AUC normed: {aucs(*vectors, settings, args.seeds)}")
    mine["<S of layer energies> x 1000"] = f"{1e3 * np.mean(by_kind['energy']):.3g}"
    lines = [mine]
    for name, (fpd, kpd, low, high, layer) in PUBLISHED[args.dataset].items():
        lines.append(
            {
                "model": f"{name} (published)",
                "FPD x 1000": fpd,
                "KPD x 1000": kpd,
                "FPD without bias x 1000": "-",
                "AUC high": high,
                "AUC low": low,
                "<S of layer energies> x 1000": layer,
            }
        )
    print(table(lines))
    low_energy, high_energy = (1e-3 * np.quantile(reference.incident, q) for q in (0.0, 1.0))
    print(f"{time.perf_counter() - start:.0f} s; incident energies {low_energy:.3g} to {high_energy:.3g} GeV")
    print(LIMITS.format(n=n, m=m))


if __name__ == "__main__":
    main()
