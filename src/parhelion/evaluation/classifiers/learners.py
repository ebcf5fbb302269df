"""Classifiers that tell two sets of rows apart: boosted trees, logistic regression on quadratic features, a network.

None is the best everywhere: trees see cuts and tails, quadratic features see means, widths and correlations with far
fewer rows, a network sees smooth structure in many features. Each learner is a function of features, labels and
weights that are not negative, and returns a model: a function from features (n, d) to scores (n,) in (0, 1), which
estimate the share of label 1 at that point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy.special import expit

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Model = Callable[[FloatArray], FloatArray]
Learner = Literal["trees", "quadratic", "network"]
LEARNERS: tuple[Learner, ...] = get_args(Learner)

_CHUNK = 1 << 14
# Beyond this many standard deviations a feature says no more to products and networks than that it is far out.
_FAR = 6.0
# All products of more features than these make more numbers than they are worth.
_WIDEST_PRODUCTS = 24
_RIDGE = 1.0
_NEWTON_STEPS = 25
_BINS = 255
_CURVATURE_ROWS = 50_000
_PATIENCE = 5
_CHECK_EVERY = 100
_CHECKED_ROWS = 20_000


@dataclass(frozen=True)
class LearnerSettings:
    """Settings of all learners.

    Attributes
    ----------
    trees, learning_rate, min_leaf
        Boosted trees: their number, their learning rate, the least number of rows in a leaf.
    network_width, network_steps
        Network: units of each of its three layers, and the largest number of training steps.
    patience
        Stop after so many trees that do not lower the loss on a tenth of the rows, held back; None: all trees.
    """

    trees: int = 150
    learning_rate: float = 0.1
    min_leaf: int = 40
    network_width: int = 64
    network_steps: int = 2000
    patience: int | None = None


def train(
    learner: Learner,
    features: FloatArray,
    label: IntArray,
    weight: FloatArray,
    *,
    group: IntArray,
    categorical: BoolArray,
    settings: LearnerSettings,
    seed: int,
) -> Model:
    """Train one learner.

    Parameters
    ----------
    learner
        Which one.
    features
        Shape (n, d); categories are 0, 1, 2, ...
    label
        1 or 0, shape (n,).
    weight
        Not negative, shape (n,).
    group
        Rows that belong together, shape (n,); the network keeps them together where it holds rows back.
    categorical
        Which features are categories, shape (d,).
    settings
        See `LearnerSettings`.
    seed
        Seed of whatever is random in the training.
    """
    if learner == "trees":
        return train_trees(features, label, weight, categorical=categorical, settings=settings, seed=seed)
    if learner == "quadratic":
        return train_quadratic(features, label, weight, categorical=categorical)
    return train_network(features, label, weight, group=group, categorical=categorical, settings=settings, seed=seed)


def train_trees(
    features: FloatArray,
    label: IntArray,
    weight: FloatArray,
    *,
    categorical: BoolArray,
    settings: LearnerSettings,
    seed: int,
) -> Model:
    """Histogram gradient boosting of scikit-learn; see `train`.

    The features are binned here: with weights scikit-learn takes each of 254 weighted percentiles of each feature in a
    pass of its own, which costs several times as much as the trees.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    binned = _Bins(features, categorical)
    model = HistGradientBoostingClassifier(
        max_iter=settings.trees,
        learning_rate=settings.learning_rate,
        min_samples_leaf=settings.min_leaf,
        categorical_features=categorical,
        early_stopping=settings.patience is not None,
        n_iter_no_change=settings.patience or 10,
        random_state=seed % 2**32,
    ).fit(binned(features), label, sample_weight=weight)

    def score(x: FloatArray) -> FloatArray:
        return np.asarray(model.predict_proba(binned(x))[:, 1], dtype=np.float64) if len(x) else np.empty(0)

    return score


def train_quadratic(features: FloatArray, label: IntArray, weight: FloatArray, *, categorical: BoolArray) -> Model:
    """Logistic regression on standardised features, their squares and their products; see `train`.

    Categories enter as indicators. With more than 24 columns, products are those of the 24 leading principal
    components. The coefficients of the standardised columns carry a penalty of half their squared sum, as one row of
    weight 1 would; Newton's method finds the minimum.
    """
    prepared = _Standard(features, weight, categorical)
    quadratic = _Quadratic(prepared, features, weight)
    beta = fit_logistic(lambda rows: quadratic(features[rows]), label, weight)

    def score(x: FloatArray) -> FloatArray:
        found = np.empty(len(x))
        for rows in _chunks(len(x)):
            found[rows] = quadratic(x[rows]) @ beta
        return np.asarray(expit(found), dtype=np.float64)

    return score


def train_network(
    features: FloatArray,
    label: IntArray,
    weight: FloatArray,
    *,
    group: IntArray,
    categorical: BoolArray,
    settings: LearnerSettings,
    seed: int,
) -> Model:
    """Small multilayer perceptron on standardised features; see `train`.

    A tenth of the groups is held back. Training ends at the largest number of steps, or when their loss has not
    fallen for five checks, one every hundred steps; the parameters of the lowest loss are kept.
    """
    import torch
    from torch import nn

    prepared = _Standard(features, weight, categorical)
    inputs = torch.from_numpy(np.concatenate([prepared(features[rows]) for rows in _chunks(len(features))])).float()
    target, mass = torch.from_numpy(label).float(), torch.from_numpy(weight / np.mean(weight)).float()
    rng = np.random.default_rng(seed)
    _, compact = np.unique(group, return_inverse=True)
    held = (rng.random(int(compact.max()) + 1) < 0.1)[compact]
    learn, check = np.flatnonzero(~held), np.flatnonzero(held)[:_CHECKED_ROWS]
    if min(len(learn), len(check)) == 0:
        learn = check = np.arange(len(label))
    width = settings.network_width
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**31)))
        network = nn.Sequential(
            nn.Linear(inputs.shape[1], width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width),
            nn.SiLU(), nn.Linear(width, 1),
        )  # fmt: skip

    def loss(rows: npt.NDArray[np.intp]) -> Any:
        index = torch.from_numpy(rows)
        return nn.functional.binary_cross_entropy_with_logits(
            network(inputs[index])[:, 0], target[index], weight=mass[index]
        )

    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    batch = min(1024, len(learn))
    best, kept, waited = float("inf"), {k: v.clone() for k, v in network.state_dict().items()}, 0
    for step in range(1, settings.network_steps + 1):
        optimiser.zero_grad()
        loss(learn[rng.integers(0, len(learn), batch)]).backward()
        optimiser.step()
        if step % _CHECK_EVERY and step != settings.network_steps:
            continue
        with torch.no_grad():
            found = float(loss(check))
        if found < best:
            best, kept, waited = found, {k: v.clone() for k, v in network.state_dict().items()}, 0
        elif (waited := waited + 1) >= _PATIENCE:
            break
    network.load_state_dict(kept)

    def score(x: FloatArray) -> FloatArray:
        out = np.empty(len(x))
        with torch.no_grad():
            for rows in _chunks(len(x)):
                out[rows] = network(torch.from_numpy(prepared(x[rows])).float())[:, 0].double().numpy()
        return np.asarray(expit(out), dtype=np.float64)

    return score


def fit_logistic(columns: Callable[[slice], FloatArray], label: IntArray, weight: FloatArray) -> FloatArray:
    """Coefficients of a logistic regression by Newton's method, in chunks of rows.

    The second derivatives of many rows are those of a part of them; steps end where they would gain less than a
    thousandth in log-likelihood.

    Minimises sum_i w_i [log(1 + e^(x_i b)) - y_i x_i b] + |b|^2 / 2, the first coefficient without penalty.

    Parameters
    ----------
    columns
        Design matrix of some rows, shape (rows, p); its first column is 1.
    label
        1 or 0, shape (n,).
    weight
        Not negative, shape (n,).

    Returns
    -------
    ndarray
        Shape (p,).
    """
    size = columns(slice(0, 1)).shape[1]
    beta, penalty = np.zeros(size), np.r_[1e-6, np.full(size - 1, _RIDGE)]
    # The curvature need not be exact: one chunk in so many gives it, as long as it has many times the rows it needs.
    stride = max(1, len(label) // max(_CURVATURE_ROWS, 100 * size))
    best, step = np.inf, np.zeros(size)
    for _ in range(_NEWTON_STEPS):
        loss, gradient, hessian, seen = 0.0, np.zeros(size), np.zeros((size, size)), 0.0
        for i, rows in enumerate(_chunks(len(label))):
            x, w = columns(rows), weight[rows]
            logit = x @ beta
            share = expit(logit)
            loss += float(np.sum(w * (np.logaddexp(0.0, logit) - label[rows] * logit)))
            gradient += x.T @ (w * (share - label[rows]))
            if i % stride == 0:
                hessian += x.T @ (x * (w * share * (1 - share))[:, None])
                seen += float(np.sum(w))
        hessian *= float(np.sum(weight)) / max(seen, 1e-300)
        loss += 0.5 * float(penalty @ beta**2)
        if loss > best + 1e-9 * abs(best):
            # Too far: halfway back to the point before.
            step = 0.5 * step
            beta = beta + step
            continue
        best = loss
        gradient += penalty * beta
        step = np.linalg.solve(hessian + np.diag(penalty), gradient)
        beta = beta - step
        # What this step gains is half of this product, in units of a log-likelihood.
        if float(gradient @ step) < 1e-3:
            break
    return beta


class _Bins:
    """Features as numbers of bins with equally many rows; categories and features of few values as they are."""

    def __init__(self, features: FloatArray, categorical: BoolArray) -> None:
        self._edges: list[FloatArray | None] = []
        at = np.linspace(0.0, 100.0, _BINS + 1)[1:-1]
        for values, category in zip(features.T, categorical, strict=True):
            if category or len(np.unique(values)) <= _BINS:
                self._edges.append(None)
            else:
                self._edges.append(np.unique(np.percentile(values, at, method="averaged_inverted_cdf")))

    def __call__(self, features: FloatArray) -> FloatArray:
        found = features.copy()
        for j, edges in enumerate(self._edges):
            if edges is not None:
                found[:, j] = np.searchsorted(edges, features[:, j], side="left")
        return found


class _Standard:
    """Features as numbers of mean 0 and variance 1, cut where they are far out; categories as indicators."""

    def __init__(self, features: FloatArray, weight: FloatArray, categorical: BoolArray) -> None:
        self._numbers = np.flatnonzero(~categorical)
        self._codes = [(j, np.unique(features[:, j])[1:]) for j in np.flatnonzero(categorical)]
        values, share = features[:, self._numbers], weight / np.sum(weight)
        self._mean = share @ values
        spread = np.sqrt(np.maximum(share @ values**2 - self._mean**2, 0.0))
        self._spread = np.where(spread > 1e-9 * np.abs(self._mean) + 1e-300, spread, 1.0)

    def __call__(self, features: FloatArray) -> FloatArray:
        scaled = np.clip((features[:, self._numbers] - self._mean) / self._spread, -_FAR, _FAR)
        indicators = [(features[:, [j]] == codes).astype(np.float64) for j, codes in self._codes]
        return np.concatenate([scaled, *indicators], axis=1)


class _Quadratic:
    """Design matrix: 1, the columns, and their squares and products, each of variance 1."""

    def __init__(self, prepared: _Standard, features: FloatArray, weight: FloatArray) -> None:
        self._prepared = prepared
        total = float(np.sum(weight))
        width = prepared(features[:1]).shape[1]
        self._axes = None
        if width > _WIDEST_PRODUCTS:
            second, first = np.zeros((width, width)), np.zeros(width)
            for rows in _chunks(len(features)):
                x = prepared(features[rows])
                first += weight[rows] @ x / total
                second += x.T @ (x * weight[rows, None]) / total
            self._axes = np.linalg.eigh(second - np.outer(first, first))[1][:, -_WIDEST_PRODUCTS:]
        sums = [(weight[rows] @ x, weight[rows] @ x**2) for rows, x in self._raw_chunks(features)]
        self._mean = np.sum([s for s, _ in sums], axis=0) / total
        variance = np.sum([q for _, q in sums], axis=0) / total - self._mean**2
        self._inverse = np.where(variance > 1e-12, 1.0 / np.sqrt(np.maximum(variance, 1e-12)), 0.0)

    def __call__(self, features: FloatArray) -> FloatArray:
        x = self._raw(features)
        x -= self._mean
        x *= self._inverse
        x[:, 0] = 1.0
        return x

    def _raw(self, features: FloatArray) -> FloatArray:
        """A column of zeros, the columns, and their products."""
        x = self._prepared(features)
        leading = x if self._axes is None else x @ self._axes
        wide, products = x.shape[1], leading.shape[1]
        out = np.zeros((len(x), 1 + wide + products * (products + 1) // 2))
        out[:, 1 : 1 + wide] = x
        at = 1 + wide
        for j in range(products):
            np.multiply(leading[:, j:], leading[:, [j]], out=out[:, at : at + products - j])
            at += products - j
        return out

    def _raw_chunks(self, features: FloatArray) -> Iterator[tuple[slice, FloatArray]]:
        for rows in _chunks(len(features)):
            yield rows, self._raw(features[rows])


def _chunks(rows: int) -> Iterator[slice]:
    for start in range(0, rows, _CHUNK):
        yield slice(start, min(start + _CHUNK, rows))
