"""Cost of the judge: CPU seconds of each metric's numeric core on one thread, and memory of the streamed statistics.

Run: python benchmarks/judge_cost.py [--rows 100000] [--stream 10000000] [--repeats 3] [--only trees]

Two samples of 10 features, of equally many rows, differ by a small shift and scale. Times are CPU seconds of the
process, the least of some repeats. Column "target" is what a prototype of the same task took (100,000 rows a sample) on
another machine; the yardstick at the top, measured in the same run, tells how this machine compares with others. Column
"library" times scipy's or scikit-learn's function for the same task where there is one.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from threadpoolctl import threadpool_limits

from common import table
from parhelion.provenance import machine, versions

WIDTH = 10
DIRECTIONS = 100
REPLICAS = 200
BINS = 100


@dataclass
class Data:
    """The two samples, signed weights, and scores of a discriminant."""

    x: np.ndarray
    y: np.ndarray
    w: np.ndarray
    v: np.ndarray
    positive: np.ndarray
    negative: np.ndarray
    cell: np.ndarray

    @classmethod
    def make(cls, rows: int) -> Data:
        """Draw them."""
        rng = np.random.default_rng(1)
        x, y = rng.normal(size=(rows, WIDTH)), 1.02 * rng.normal(size=(rows, WIDTH)) + 0.01
        w, v = (np.where(rng.random(rows) < 0.25, -0.5, 1.0) for _ in range(2))
        return cls(x, y, w, v, x[:, 0] + 1.0, y[:, 0], rng.integers(0, BINS, rows))


@dataclass
class Task:
    """One row of the table: our function, the target in CPU seconds (None without), the library's function."""

    name: str
    own: Callable[[Data], object]
    target: float | None = None
    library: Callable[[Data], object] | None = None
    library_note: str = ""
    repeats: int | None = field(default=None)


def frechet(d: Data) -> object:
    from parhelion.evaluation.distances.frechet import frechet_distance

    return frechet_distance(d.x, d.y)


def frechet_signed(d: Data) -> object:
    from parhelion.evaluation.distances.frechet import frechet_distance

    return frechet_distance(d.x, d.y, d.w, d.v)


def frechet_library(d: Data) -> object:
    from scipy.linalg import sqrtm

    a, b = np.cov(d.x, rowvar=False), np.cov(d.y, rowvar=False)
    return np.trace(a + b - 2 * sqrtm(a @ b).real)


def frechet_published(d: Data) -> object:
    from parhelion.evaluation.distances.calochallenge import calochallenge_fpd

    return calochallenge_fpd(d.x, d.y, max_samples=min(50_000, len(d.x)))


def kernel(d: Data) -> object:
    from parhelion.evaluation.distances.kernel import kernel_distance

    return kernel_distance(d.x, d.y)


def kernel_signed(d: Data) -> object:
    from parhelion.evaluation.distances.kernel import kernel_distance

    return kernel_distance(d.x, d.y, d.w, d.v)


def kernel_sums(d: Data) -> object:
    from parhelion.evaluation.distances.quartic_kernel import Quartic

    tensors = Quartic(WIDTH)
    return tensors.sum(d.x) @ tensors.sum(d.y)


def kernel_dense(d: Data) -> object:
    from parhelion.evaluation.distances.quartic_kernel import dense_sums

    rows = np.concatenate([d.x[:5000], d.y[:5000]])
    return dense_sums(rows, np.repeat(np.eye(2), len(rows) // 2, axis=0))


def kernel_published(d: Data) -> object:
    from parhelion.evaluation.distances.calochallenge import calochallenge_kpd

    return calochallenge_kpd(d.x, d.y)


def wasserstein(d: Data) -> object:
    from parhelion.evaluation.statistics.one_dimensional import wasserstein

    return wasserstein(d.x[:, 0], d.y[:, 0])


def energy(d: Data) -> object:
    from parhelion.evaluation.statistics.cumulative import energy

    return energy(d.x[:, 0], d.y[:, 0])


def all_cumulative(d: Data) -> object:
    from parhelion.evaluation.statistics.cumulative import CdfDifference

    return CdfDifference(d.x[:, 0], d.y[:, 0], d.w, d.v).measured()


def wasserstein_library(d: Data) -> object:
    from scipy.stats import wasserstein_distance

    return wasserstein_distance(d.x[:, 0], d.y[:, 0])


def energy_library(d: Data) -> object:
    from scipy.stats import energy_distance

    return energy_distance(d.x[:, 0], d.y[:, 0])


def ks_library(d: Data) -> object:
    from scipy.stats import ks_2samp

    return ks_2samp(d.x[:, 0], d.y[:, 0], method="asymp")


def sliced(d: Data) -> object:
    from parhelion.evaluation.distances.sliced import sliced_distances

    return sliced_distances(d.x, d.y, directions=DIRECTIONS)


def sliced_signed(d: Data) -> object:
    from parhelion.evaluation.distances.sliced import sliced_distances

    return sliced_distances(d.x, d.y, d.w, d.v, directions=DIRECTIONS)


def energy_exact(d: Data) -> object:
    from scipy.spatial.distance import cdist

    return cdist(d.x[:5000], d.y[:5000]).mean()


def bootstrap_auc(d: Data) -> object:
    from parhelion.evaluation.statistics.auc import bootstrap_auc

    return bootstrap_auc(d.positive, d.negative, replicas=REPLICAS, seed=0)


def delong_auc(d: Data) -> object:
    from parhelion.evaluation.statistics.auc import delong

    return delong(d.positive, d.negative)


def auc_library(d: Data) -> object:
    from sklearn.metrics import roc_auc_score

    label = np.repeat([1, 0], [len(d.positive), len(d.negative)])
    return roc_auc_score(label, np.concatenate([d.positive, d.negative]))


def _cells(d: Data) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    order = np.argsort(d.cell, kind="stable")
    for rows in np.split(order, np.cumsum(np.bincount(d.cell, minlength=BINS))[:-1]):
        yield d.positive[rows], d.negative[rows]


def delong_map(d: Data) -> object:
    from parhelion.evaluation.statistics.auc import delong

    return [delong(a, b) for a, b in _cells(d)]


def bootstrap_map(d: Data) -> object:
    from parhelion.evaluation.samples.bootstrap import poisson_counts
    from parhelion.evaluation.statistics.auc import ResampledAuc

    rng = np.random.default_rng(0)
    found = []
    for a, b in _cells(d):
        area = ResampledAuc(a, b)
        found.append([area(counts) for counts in poisson_counts(len(a) + len(b), REPLICAS, rng)])
    return found


def _halves(d: Data) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows to train on, their labels, and rows to score; as many of each as one sample has."""
    half = len(d.x) // 2
    label = np.repeat([1, 0], half)
    return np.concatenate([d.x[:half], d.y[:half]]), label, np.concatenate([d.x[half:], d.y[half:]])


def trees(d: Data) -> object:
    from parhelion.evaluation.classifiers.learners import LearnerSettings, train_trees

    rows, label, rest = _halves(d)
    plain = np.zeros(WIDTH, dtype=bool)
    settings = LearnerSettings(trees=100)
    return train_trees(rows, label, np.ones(len(rows)), categorical=plain, settings=settings, seed=1)(rest)


def trees_stopped(d: Data) -> object:
    from parhelion.evaluation.classifiers.learners import LearnerSettings, train_trees

    rows, label, rest = _halves(d)
    plain = np.zeros(WIDTH, dtype=bool)
    settings = LearnerSettings(trees=100, patience=10)
    return train_trees(rows, label, np.ones(len(rows)), categorical=plain, settings=settings, seed=1)(rest)


def trees_library(d: Data) -> object:
    from sklearn.ensemble import HistGradientBoostingClassifier

    rows, label, rest = _halves(d)
    return HistGradientBoostingClassifier(random_state=1).fit(rows, label).predict_proba(rest)


def quadratic(d: Data) -> object:
    from parhelion.evaluation.classifiers.learners import train_quadratic

    rows, label, rest = _halves(d)
    return train_quadratic(rows, label, np.ones(len(rows)), categorical=np.zeros(WIDTH, dtype=bool))(rest)


def quadratic_library(d: Data) -> object:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    rows, label, rest = _halves(d)
    model = make_pipeline(PolynomialFeatures(2, include_bias=False), StandardScaler(), LogisticRegression())
    return model.fit(rows, label).predict_proba(rest)


def likelihood_ratio(d: Data) -> object:
    from parhelion.evaluation.neighbours.nplm import kernel_ratio, pair_distance

    rows, label, _ = _halves(d)
    rng = np.random.default_rng(0)
    ratio = kernel_ratio(rows, 300, pair_distance(rows, 0.9, rng), 1e-6, rng)
    return ratio.fit(label == 0)


def likelihood_ratio_library(d: Data) -> object:
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    rows, label, _ = _halves(d)
    model = make_pipeline(Nystroem(gamma=0.02, n_components=300, random_state=0), LogisticRegression(max_iter=200))
    return model.fit(rows, label)


def neighbours(d: Data) -> object:
    from parhelion.evaluation.neighbours.nearest import nearest

    return nearest(d.y[:10_000], d.x)


def neighbours_library(d: Data) -> object:
    from scipy.spatial import cKDTree

    return cKDTree(d.x).query(d.y[:10_000])


def neighbourhoods(d: Data) -> object:
    from parhelion.evaluation.neighbours.prdc import neighbourhoods

    return neighbourhoods(d.x[:10_000], d.y[:10_000])


TASKS = (
    Task("FPD block jackknife with null, K = 50", frechet, 0.067, frechet_library, "sqrtm, no error"),
    Task("the same, signed weights", frechet_signed),
    Task("FPD as published, 10 x 20 batches", frechet_published, 2.96, repeats=1),
    Task("KPD exact sums", kernel_sums, 0.34, kernel_dense, "all pairs, 5000 rows"),
    Task("KPD with error and null, K = 50", kernel, 0.34 + 0.22),
    Task("the same, signed weights", kernel_signed),
    Task("KPD as published, 10 x 5000 rows", kernel_published, 12.9, repeats=1),
    Task("1D W1", wasserstein, 0.042, wasserstein_library),
    Task("1D ED", energy, 0.039, energy_library),
    Task("1D W1, KS and ED, signed weights", all_cumulative, 0.042 + 0.047 + 0.039, ks_library, "KS, no weights"),
    Task("sliced ED and W1, L = 100, errors and nulls", sliced, 0.52 + 0.45, energy_exact, "X-Y pairs, 5000 rows"),
    Task("the same, signed weights", sliced_signed, 3.7),
    Task("AUC bootstrap, B = 200", bootstrap_auc, 0.48),
    Task("AUC DeLong", delong_auc, 0.096, auc_library, "no error"),
    Task("AUC map, 100 bins, DeLong", delong_map, 0.27),
    Task("AUC map, 100 bins, bootstrap 200", bootstrap_map, 1.65),
    Task("classifier: boosted trees, all 100", trees, repeats=1),
    Task("classifier: boosted trees, stopped", trees_stopped, 0.87, trees_library, "stops after a few trees", 1),
    Task("classifier: quadratic logistic", quadratic, 1.19, quadratic_library, "", 1),
    Task("NPLM: one fit, 300 centres", likelihood_ratio, 4.2, likelihood_ratio_library, "Nystroem, logistic", 1),
    Task("1-NN, 1e4 in 1e5", neighbours, 3.0, neighbours_library, "k-d tree", 1),
    Task("precision, recall, density, coverage, 1e4 rows", neighbourhoods, repeats=1),
)


def cpu(function: Callable[[], object], repeats: int) -> float:
    """Least CPU seconds of some calls."""
    best = np.inf
    for _ in range(repeats):
        start = time.process_time()
        function()
        best = min(best, time.process_time() - start)
    return float(best)


def yardstick(repeats: int) -> tuple[float, float]:
    """CPU seconds of sorting 2e5 doubles and of a product of two single-precision matrices of 2000 x 2000."""
    rng = np.random.default_rng(0)
    values, matrix = rng.normal(size=200_000), rng.normal(size=(2000, 2000)).astype(np.float32)
    return cpu(lambda: np.sort(values), 3 * repeats), cpu(lambda: matrix @ matrix, repeats)


def measure(task: Task, data: Data, repeats: int) -> dict[str, object]:
    row: dict[str, object] = {"task": task.name}
    times = task.repeats or repeats
    try:
        own = cpu(lambda: task.own(data), times)
    except ImportError as error:
        return {
            **row,
            "CPU s": "–",
            "target": task.target or "–",
            "ratio": "–",
            "library": "–",
            "note": f"no {error.name}",
        }
    row |= {"CPU s": f"{own:.3f}", "target": task.target or "–"}
    row["ratio"] = f"{own / task.target:.2f}" if task.target else "–"
    row["library"] = f"{cpu(lambda: task.library(data), 1):.3f}" if task.library else "–"
    return {**row, "note": task.library_note}


def streamed(name: str, rows: int, chunk: int = 100_000) -> dict[str, object]:
    """CPU time and growth of the peak of resident memory for statistics of rows that come in chunks."""
    from parhelion.evaluation.distances.moments import BlockMoments
    from parhelion.evaluation.distances.quartic_kernel import BlockTensors

    rng = np.random.default_rng(2)
    part, weight = rng.normal(size=(chunk, WIDTH)), rng.normal(1, 1, chunk)
    edges, held = np.linspace(-5, 5, 101), np.zeros((WIDTH, 2, 102))

    def histograms(rows: np.ndarray, block: np.ndarray, weight: np.ndarray) -> None:
        for column in range(WIDTH):
            cell = np.searchsorted(edges, rows[:, column], side="right")
            held[column] += [np.bincount(cell, w, 102) for w in (weight, weight**2)]

    add = {"histograms": histograms, "FPD": BlockMoments(50, WIDTH).add, "KPD": BlockTensors(50, WIDTH).add}[name]
    before, start = peak(), time.process_time()
    for done in range(0, rows, chunk):
        block = (np.arange(chunk) + done) % 50
        add(part, block, weight)
    return {
        "statistic": name,
        "rows": f"{rows:,}",
        "CPU s": f"{time.process_time() - start:.2f}",
        "peak memory grew by [MiB]": f"{peak() - before:.1f}",
        "rows in memory would be [MiB]": f"{rows * (WIDTH + 1) * 8 / 2**20:.0f}",
    }


def peak() -> float:
    """Peak of the resident memory of this process, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--stream", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", metavar="WORD", help="tasks whose names hold one of these, no streams")
    options = parser.parse_args()
    tasks = [task for task in TASKS if not options.only or any(word in task.name for word in options.only)]
    found = versions()
    packages = ", ".join(f"{name} {found[name]}" for name in ("parhelion", "numpy", "scikit-learn") if name in found)
    with threadpool_limits(1):
        # First, while the peak is still low.
        streams = [streamed(name, options.stream) for name in ("histograms", "FPD", "KPD") if not options.only]
        sort, product = yardstick(options.repeats)
        print(f"{machine()}; one thread; {packages}")
        print(f"yardstick: sort of 2e5 doubles {1e3 * sort:.1f} ms, sgemm of 2000 x 2000 {1e3 * product:.0f} ms\n")
        if streams:
            print(table(streams), end="\n\n")
        data = Data.make(options.rows)
        print(table([measure(task, data, options.repeats) for task in tasks]))


if __name__ == "__main__":
    main()
