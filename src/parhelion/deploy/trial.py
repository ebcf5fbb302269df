"""Does an exported graph answer as the surrogate does? Numerically, statistically, and at the edges."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice, product
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from parhelion.deploy.manifest import Golden
from parhelion.deploy.models import Model, SurrogateModel, components, seen_values
from parhelion.errors import DataError
from parhelion.noise import uniform
from parhelion.surrogates import Surrogate

FloatArray = npt.NDArray[np.float64]
SingleArray = npt.NDArray[np.float32]

GOLDEN_SEED = 20
_GOLDEN_ROWS, _GOLDEN_NUMBERS = 64, 1 << 16
_MOST_CORNERS = 256
_NUDGES = 3
_EXTREME = 6.0
_ROWS_AT_ONCE = 2048
_STATISTICS_ROWS = 20_000
_STATISTICS_NUMBERS = 4_000_000
_TRIAL_STAGE, _CONDITION_STAGE = 7, 8


@dataclass(frozen=True)
class Trial:
    """What a comparison of a graph with its surrogate found.

    The numerical tolerance is 1e-3 of each number's spread (and of its size): far below anything that physics sees,
    above what single precision and another order of sums do to steep transforms. A row at the very edge of a discrete
    choice (a pattern, a neighbour) may choose otherwise; the share of such rows is bounded too.

    Attributes
    ----------
    rows, edge_rows
        Random conditions and conditions at edges that were compared.
    largest
        Largest |difference| / (scale + |value|), rows beyond the tolerance left out.
    beyond
        Share of rows beyond the tolerance.
    p_values
        Of tests between independent samples of both, by name.
    deviations
        Of the same tests: how far each distance is above its null, in units of the null's spread. P-values from draws
        end where no draw is larger, so that these decide.
    """

    RELATIVE: ClassVar[float] = 1e-3
    ROWS_BEYOND: ClassVar[float] = Surrogate.undecided
    LEAST_P: ClassVar[float] = 0.01
    # Distances have longer tails than a normal number.
    LARGEST_DEVIATION: ClassVar[float] = 8.0

    rows: int
    edge_rows: int
    largest: float
    beyond: float
    p_values: dict[str, float]
    deviations: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def require(self, what: str, allowed: float = ROWS_BEYOND) -> None:
        """Refuse a graph that does not answer as it must.

        Parameters
        ----------
        what
            Name of the graph, for the message.
        allowed
            Largest share of rows beyond the tolerance (see `Surrogate.undecided`).

        Raises
        ------
        DataError
            Too many rows are beyond the tolerance, or a test tells the samples apart.
        """
        if not self.beyond <= allowed:
            msg = (
                f"{what} answers otherwise than the surrogate in {self.beyond:.2%} of {self.rows + self.edge_rows:,} "
                f"rows (allowed {allowed:.2%} beyond {self.RELATIVE:g} of the spread); nothing was written"
            )
            raise DataError(msg)
        for name, p in self.p_values.items():
            far = self.deviations[name]
            # Written so that NaN is refused.
            if not (p >= self.LEAST_P or far <= self.LARGEST_DEVIATION):
                msg = (
                    f"{what} gives another distribution than the surrogate ({name}: p = {p:.1g}, {far:.3g} standard "
                    "deviations above what two samples of one model give); nothing was written"
                )
                raise DataError(msg)


def conditions_to_try(surrogate: Surrogate, rows: int, seed: int) -> FloatArray:
    """Random conditions inside the domain, shape (rows, c): each column as its scale in the networks, uniform."""
    codec = surrogate.codec
    fields = components(surrogate.schema)
    if not fields:
        return np.zeros((rows, 0))
    u = uniform(seed, np.arange(rows), len(fields), stage=_CONDITION_STAGE)
    low, high = codec.low.numpy(), codec.high.numpy()
    out = low + u * (high - low)
    for k, j in enumerate(codec.continuous):
        if bool(codec.log_scale[k]) and low[j] > 0:
            out[:, j] = low[j] * (high[j] / low[j]) ** u[:, j]
        if fields[j].kind == "integer":
            out[:, j] = np.rint(out[:, j])
    for j, _ in codec.categories:
        values = np.array(seen_values(surrogate, j))
        out[:, j] = values[np.minimum((u[:, j] * len(values)).astype(np.int64), len(values) - 1)]
    for i, triple in enumerate(codec.directions):
        columns = [codec.continuous[k] for k in triple]
        ends = codec.direction_ends[:, 3 * i : 3 * i + 3].numpy()
        magnitude, sx, sy = (ends[0, m] + u[:, columns[m]] * (ends[1, m] - ends[0, m]) for m in range(3))
        pz = np.exp(magnitude) / np.sqrt(1.0 + sx**2 + sy**2)
        out[:, columns[0]], out[:, columns[1]], out[:, columns[2]] = sx * pz, sy * pz, pz
    inside: FloatArray = np.clip(out, low, high)
    return inside


def edge_conditions(surrogate: Surrogate) -> FloatArray:
    """Conditions at the corners of the domain and on both sides of each threshold, shape (n, c)."""
    codec = surrogate.codec
    fields = components(surrogate.schema)
    low, high = codec.low.numpy(), codec.high.numpy()
    middle = conditions_to_try(surrogate, 1, seed=0)
    known = dict.fromkeys(j for j, _ in codec.categories)
    choices = [seen_values(surrogate, j) if j in known else [float(low[j]), float(high[j])] for j in range(len(fields))]
    rows = [np.array(corner, dtype=np.float64) for corner in islice(product(*choices), _MOST_CORNERS)]
    tree = codec.pattern
    thresholds = {(int(f), float(t)) for f, t in zip(tree.feature, tree.threshold, strict=True) if f >= 0}
    for j, value in sorted(thresholds | {(j, float(t)) for j, t in codec.known}):
        for side in (np.nextafter(value, -np.inf), value, np.nextafter(value, np.inf)):
            row = middle[0].copy()
            row[j] = side
            rows.append(row)
    return np.stack([*rows, middle[0]]) if fields else np.zeros((1, 0))


def golden_block(model: SurrogateModel, edges: FloatArray, condition: FloatArray, scale: FloatArray) -> Golden:
    """Rows for the file: edges first, then ordinary ones; fewer where a row is wide. Those are kept that are sure."""
    width = model.noise_width + model.schema.response_width + model.schema.condition_width
    wanted = int(np.clip(_GOLDEN_NUMBERS // width, 4, _GOLDEN_ROWS))
    tried = np.concatenate([edges[: wanted // 2], condition[: 2 * wanted]])
    event_id = np.arange(len(tried), dtype=np.int64)
    noise = model.noise(GOLDEN_SEED, event_id)
    response = model.respond(tried, noise)
    tolerance = 0.5 * Trial.RELATIVE * (scale + np.abs(response))
    kept = np.flatnonzero(sure_rows(model, tried, noise, response, tolerance))[:wanted]
    return Golden(GOLDEN_SEED, 0, event_id[kept], tried[kept], noise[kept], response[kept])


def sure_rows(
    model: SurrogateModel, condition: FloatArray, noise: SingleArray, response: SingleArray, tolerance: FloatArray
) -> npt.NDArray[np.bool_]:
    """Which rows, shape (n,), another program must answer alike.

    Rows whose answer changes by more than the tolerance when noise moves by ten units of its last place, or weights by
    a hundred, as much as the rounding of a network's sums may, prove nothing. They lie at the edge of a discrete
    choice, or so far outside of what the network has learned that rounding decides.

    Parameters
    ----------
    model
        The surrogate.
    condition, noise, response
        The rows, shapes (n, c), (n, z) and (n, d).
    tolerance
        Of each number of the response, shape (d,) or (n, d).
    """
    sure = np.ones(len(condition), dtype=bool)
    moved = [
        model.respond(condition, (noise * np.float32(factor)).astype(np.float32)) for factor in (1 - 4e-6, 1 + 4e-6)
    ]
    moved += [_nudged(model, seed).respond(condition, noise) for seed in range(_NUDGES)]
    for answer in moved:
        # Written so that NaN is not sure.
        sure &= (np.abs(answer - response) <= tolerance).all(axis=1)
    return sure


def _nudged(model: SurrogateModel, seed: int) -> SurrogateModel:
    """A copy whose weights are off by some rounding, each on its own."""
    import torch

    # Buffers are shared: those of a library are its whole sample.
    surrogate = copy.deepcopy(model.surrogate, {id(buffer): buffer for buffer in model.surrogate.buffers()})
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in surrogate.parameters():
            if weight.is_floating_point():
                weight.mul_(1.0 + 1e-5 * torch.randn(weight.shape, generator=generator).to(weight))
    return SurrogateModel(surrogate)


def try_package(
    package: Any,
    model: SurrogateModel,
    condition: FloatArray,
    edges: FloatArray,
    *,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> Trial:
    """Compare a package with its surrogate.

    Parameters
    ----------
    package
        The package.
    model
        The surrogate.
    condition
        Random conditions, shape (n, c).
    edges
        Conditions at edges, shape (m, c); each is tried with ordinary, extreme and no noise.
    seed
        Seed of the noise.
    progress
        Called with (rows compared, all rows).
    """
    scale = np.array(package.manifest["tolerance"]["scale"])
    noise = model.noise(seed, np.arange(len(condition)), stage=_TRIAL_STAGE)
    corners, corner_noise = _with_extremes(model, edges, seed)
    worst, beyond, done = 0.0, 0, 0
    for c, z in ((condition, noise), (corners, corner_noise)):
        for start in range(0, len(c), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            expected = model.respond(c[rows], z[rows]).astype(np.float64)
            error = np.abs(package.respond(c[rows], z[rows]) - expected) / (scale + np.abs(expected))
            # Written so that NaN is beyond.
            odd = ~(error <= Trial.RELATIVE).all(axis=1)
            beyond += int(odd.sum())
            worst = max(worst, float(error[~odd].max(initial=0.0)))
            done += len(error)
            if progress is not None:
                progress(done, len(condition) + len(corners))
    found = _tests(package, model, condition, seed)
    return Trial(
        rows=len(condition),
        edge_rows=len(corners),
        largest=worst,
        beyond=beyond / (len(condition) + len(corners)),
        p_values={name: p for name, (p, _) in found.items()},
        deviations={name: far for name, (_, far) in found.items()},
    )


def _with_extremes(model: Model, edges: FloatArray, seed: int) -> tuple[FloatArray, SingleArray]:
    ordinary = model.noise(seed, np.arange(len(edges)), stage=_TRIAL_STAGE + 2)
    makers: tuple[Callable[[SingleArray], SingleArray], ...] = (
        lambda z: z,
        np.zeros_like,
        lambda z: np.full_like(z, _EXTREME),
        lambda z: np.full_like(z, -_EXTREME),
        lambda z: np.copysign(np.float32(_EXTREME), z),
    )
    return np.concatenate([edges] * len(makers)), np.concatenate([make(ordinary) for make in makers])


def _tests(package: Model, model: Model, condition: FloatArray, seed: int) -> dict[str, tuple[float, float]]:
    """P-values and deviations between answers of both to the same conditions with independent noise."""
    from parhelion.evaluation import compare_arrays

    width = model.schema.response_width
    n = min(len(condition), _STATISTICS_ROWS, max(500, _STATISTICS_NUMBERS // width))
    ids = np.arange(n)
    first = model.respond(condition[:n], model.noise(seed, ids, stage=_TRIAL_STAGE + 3))
    second = package.respond(condition[:n], package.noise(seed, ids, stage=_TRIAL_STAGE + 4))
    # Units of both: in those of one, a cell with a single hit, which is in that sample, would tell them apart.
    spread = np.concatenate([first, second]).std(axis=0)
    varied = spread > 0
    if not varied.any():
        return {}
    x, y = (part[:, varied] / spread[varied] for part in (first, second))
    results = compare_arrays("sliced", x, y, options={"scaling": "none"}, seed=seed)
    # Where the null does not vary, any difference is far from it.
    least = float(np.finfo(np.float64).tiny)
    return {
        f"sliced {name}": (float(q.p_value), float((q.value - q.null) / max(q.null_error, least)))
        for r in results
        for name, q in r.quantities.items()
        if q.p_value is not None
    }
