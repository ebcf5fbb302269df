"""The CaloChallenge's evaluation as published: histograms with their binning, and the two dense classifiers.

For comparison with published numbers only (Krause et al., arXiv:2410.21611, and the challenge's public evaluation):
there is no null, rows outside a histogram's range are not seen, and the bins of energies end at the largest value of
the reference, so the numbers depend on which sample is called the reference. The metrics of the registry have neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from parhelion.errors import DataError
from parhelion.evaluation.statistics.auc import placements
from parhelion.io.binning import Geometry
from parhelion.observables.calochallenge import cut, feature_vector, high_level

FloatArray = npt.NDArray[np.float64]

_TINY = 1e-16
_CLIP = 1e-6
# Layers of data set 1 whose binning reaches two metres.
_WIDE = frozenset({12, 13})
_WIDEST = frozenset({12, 13, 14})


@dataclass(frozen=True)
class ChallengeShowers:
    """Showers as the challenge's files have them.

    Attributes
    ----------
    incident
        Incident energies, shape (n,), MeV.
    voxels
        Shape (n, voxels), MeV.
    """

    incident: FloatArray
    voxels: npt.NDArray[np.floating]


def published_separation(reference: npt.ArrayLike, generated: npt.ArrayLike, edges: FloatArray) -> float:
    """Separation power 1/2 sum (p - q)^2 / (p + q) as the challenge computes it, from 0 to 1.

    Each histogram is normalised over what lies within the edges; 1e-16 keeps empty bins from dividing by zero.

    Parameters
    ----------
    reference, generated
        Values, any shape.
    edges
        Shape (bins + 1,).

    Raises
    ------
    DataError
        No value of a sample lies within the edges.
    """
    shares = []
    for values in (reference, generated):
        counts = np.histogram(np.ravel(values), edges)[0]
        if not counts.sum():
            msg = f"no value of a sample lies between {edges[0]:g} and {edges[-1]:g}, where the published histogram is"
            raise DataError(msg)
        shares.append(counts / counts.sum())
    p, q = shares
    return float(0.5 * np.sum((p - q) ** 2 / (p + q + _TINY)))


def published_separations(
    reference: ChallengeShowers, generated: ChallengeShowers, geometry: Geometry
) -> dict[str, float]:
    """Separation powers of the published histograms, by name; layers have their number behind an underscore.

    Names: ``response`` (E_tot / E_inc), and of each layer ``energy``, ``centre_eta``, ``centre_phi``, ``width_eta``,
    ``width_phi``, ``sparsity``, ``centre_r``, ``width_r``; ``voxel`` for the energies of all voxels. A layer without
    energy in one of the samples, where a published histogram has no content, is left out.

    Parameters
    ----------
    reference, generated
        Showers; voxels below the geometry's threshold are empty.
    geometry
        Voxels.
    """
    showers = [cut(s.voxels, geometry) for s in (reference, generated)]
    features = [high_level(s, geometry) for s in showers]
    found: dict[str, float] = {}

    def add(name: str, values: Sequence[Any], edges: FloatArray | None) -> None:
        if edges is not None:
            try:
                found[name] = published_separation(values[0], values[1], edges)
            except DataError:
                return

    response = [f.total / s.incident for f, s in zip(features, (reference, generated), strict=True)]
    add("response", response, np.linspace(0.5, 1.5, 101))
    for position, layer in enumerate(geometry.layers):
        energies = [f.layer_energy[:, position] for f in features]
        add(f"energy_{layer.number}", energies, _energy_edges(energies[0], geometry.threshold, 40))
    for kind, edges, at in _shape_histograms(geometry):
        values = [getattr(f, kind.rpartition("_")[0])[:, at] for f in features]
        add(kind, values, edges)
    voxels = [s[s > 0] for s in showers]
    add("voxel", voxels, _energy_edges(voxels[0], geometry.threshold, 50))
    return found


def _energy_edges(reference: npt.NDArray[np.floating], threshold: float, points: int) -> FloatArray | None:
    top = float(reference.max(initial=0.0))
    return np.logspace(np.log10(threshold), np.log10(top), points) if top > threshold else None


def _shape_histograms(geometry: Geometry) -> Iterator[tuple[str, FloatArray, int]]:
    """Name, edges and column of each histogram of a layer's shape."""
    regular = len(geometry.shape) > 1
    angular = 0
    for position, layer in enumerate(geometry.layers):
        n = layer.number
        if layer.alpha_bins > 1:
            centre = 30.0 if regular else 500.0 if n in _WIDE else 100.0
            width = 30.0 if regular else 400.0 if n in _WIDE else 100.0
            for axis in ("eta", "phi"):
                yield f"centre_{axis}_{n}", np.linspace(-centre, centre, 101), angular
                yield f"width_{axis}_{n}", np.linspace(0.0, width, 101), angular
            angular += 1
        yield f"sparsity_{n}", np.linspace(0.0, 1.0, 21), position
        centre_r = 42.0 if regular else 1500.0 if n in _WIDEST else 500.0
        width_r = 20.0 if regular else 1500.0 if n in _WIDEST else 500.0
        yield f"centre_r_{n}", np.linspace(0.0, centre_r, 101), position
        yield f"width_r_{n}", np.linspace(0.0, width_r, 101), position


def published_features(showers: ChallengeShowers, geometry: Geometry) -> FloatArray:
    """Features of the high-level classifier, FPD and KPD, shape (n, 30 / 46 / 362 / 362)."""
    return feature_vector(high_level(cut(showers.voxels, geometry), geometry), showers.incident)


@dataclass(frozen=True)
class DenseClassifier:
    """The challenge's classifier; the defaults are the published ones.

    Attributes
    ----------
    width, hidden
        Units of each hidden layer, and how many layers follow the first.
    learning_rate, batch, epochs
        Of Adam.
    double
        Train in double precision, as published.
    """

    width: int = 2048
    hidden: int = 2
    learning_rate: float = 2e-4
    batch: int = 1000
    epochs: int = 50
    double: bool = True


@dataclass(frozen=True)
class PublishedAuc:
    """What the challenge quotes of a classifier.

    Attributes
    ----------
    auc
        Area under the ROC curve on rows that were neither trained on nor used to choose or calibrate; label 1 is the
        reference.
    jsd
        (ln 2 - cross entropy) / ln 2 after calibration, an estimate of the Jensen-Shannon divergence in bits.
    epoch
        Epoch of the parameters that were kept, from 1.
    """

    auc: float
    jsd: float
    epoch: int


def dense_classifier(
    reference: FloatArray, generated: FloatArray, settings: DenseClassifier | None = None, *, seed: int
) -> PublishedAuc:
    """Train the challenge's dense classifier and evaluate it as published.

    Linear layers with LeakyReLU (0.01), no dropout; of each sample 60 % train, 20 % choose the epoch by accuracy and
    calibrate the scores (isotonic regression, cut to 1e-6 ... 1 - 1e-6), and 20 % are evaluated. The public script sets
    no seed; here there is one, and several of them give the spread that is published as error.

    Parameters
    ----------
    reference, generated
        Input features, shapes (n, d) and (m, d).
    settings
        Sizes and training; as published if not given.
    seed
        Seed of the split, the initial parameters and the batches.

    Raises
    ------
    DataError
        A sample has fewer than 10 rows, or the widths differ.
    """
    import torch
    from sklearn.isotonic import IsotonicRegression
    from torch import nn

    chosen = settings or DenseClassifier()
    if min(len(reference), len(generated)) < 10 or reference.shape[1:] != generated.shape[1:]:
        shapes = f"{reference.shape} and {generated.shape}"
        msg = f"classifier: samples of shapes {shapes}, expected at least 10 rows of one width"
        raise DataError(msg)
    rng = np.random.default_rng(seed)
    kind = torch.float64 if chosen.double else torch.float32
    parts: list[list[tuple[Any, Any]]] = [[], [], []]
    for value, rows in ((1.0, reference), (0.0, generated)):
        order = rng.permutation(len(rows))
        for part, index in zip(parts, np.split(order, [int(0.6 * len(rows)), int(0.8 * len(rows))]), strict=True):
            part.append((torch.as_tensor(rows[index], dtype=kind), torch.full((len(index),), value, dtype=kind)))
    (x, y), (x_test, y_test), (x_held, y_held) = (
        (torch.cat([a for a, _ in part]), torch.cat([b for _, b in part])) for part in parts
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**31)))
        sizes = [x.shape[1], *[chosen.width] * (1 + chosen.hidden)]
        layers: list[nn.Module] = []
        for a, b in pairwise(sizes):
            layers += [nn.Linear(a, b, dtype=kind), nn.LeakyReLU(0.01)]
        network = nn.Sequential(*layers, nn.Linear(chosen.width, 1, dtype=kind))
    optimiser = torch.optim.Adam(network.parameters(), lr=chosen.learning_rate)

    def scores(rows: Any) -> FloatArray:
        with torch.no_grad():
            found = [torch.sigmoid(network(piece)[:, 0]) for piece in rows.split(4096)]
        return np.asarray(torch.cat(found).double().numpy())

    best, kept, epoch_kept = -1.0, network.state_dict(), 0
    for epoch in range(1, chosen.epochs + 1):
        shuffled: Any = torch.from_numpy(rng.permutation(len(x)))
        for batch in shuffled.split(chosen.batch):
            optimiser.zero_grad()
            loss: Any = nn.functional.binary_cross_entropy_with_logits(network(x[batch])[:, 0], y[batch])
            loss.backward()
            optimiser.step()
        accuracy = float(np.mean((scores(x_test) > 0.5) == (y_test.numpy() > 0.5)))
        if accuracy > best:
            best, epoch_kept = accuracy, epoch
            kept = {name: v.clone() for name, v in network.state_dict().items()}
    network.load_state_dict(kept)
    calibration = IsotonicRegression(out_of_bounds="clip", y_min=_CLIP, y_max=1 - _CLIP)
    calibration.fit(scores(x_test), y_test.numpy())
    score: FloatArray = np.asarray(calibration.predict(scores(x_held)), dtype=np.float64)
    label: npt.NDArray[np.bool_] = np.asarray(y_held.numpy() > 0.5)
    ones = np.ones(len(score))
    area = placements(score[label], score[~label], ones[label], ones[~label]).auc
    entropy = -float(np.mean(np.where(label, np.log(score), np.log1p(-score))))
    return PublishedAuc(float(area), float((np.log(2) - entropy) / np.log(2)), epoch_kept)
