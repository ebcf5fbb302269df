"""Maximum-likelihood fits of the forms of toys: the best that anyone who knows the form can do with a sample."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from parhelion.errors import ConfigError
from parhelion.simulators.toys import Camel, LogNormalTerms, Pareto, Shell, Toy

FloatArray = npt.NDArray[np.float64]
Draw = Callable[[int, np.random.Generator], FloatArray]

_ITERATIONS = 200
# A hump on a single event has no width, and an unbounded likelihood.
_LEAST_VARIANCE = 1e-4


def fitted(toy: Toy, points: npt.ArrayLike) -> Draw:
    """Fit the form of a toy to events.

    Camel: means, widths and share of two normal distributions (5 parameters), by expectation and maximisation. Shell:
    mean and width of the radius. Log-normal terms: mean and width of the logarithm, of all terms together. Pareto: the
    exponent.

    Parameters
    ----------
    toy
        Its class says the form; its numbers are not used, but for the least value of a Pareto distribution.
    points
        Events, shape (n, d).

    Returns
    -------
    callable
        Takes a number of events and a random generator, gives events (n, d) from the fit.

    Raises
    ------
    ConfigError
        No fit is known for this toy.
    """
    x = np.asarray(points, dtype=np.float64)
    match toy:
        case Camel():
            return _humps(x[:, 0])
        case Shell():
            radius = np.linalg.norm(x, axis=1)
            return _shell(float(radius.mean()), float(radius.std()), x.shape[1])
        case LogNormalTerms():
            logs = np.log(x)
            mean, spread, terms = float(logs.mean()), float(logs.std()), x.shape[1]
            return lambda n, rng: np.exp(rng.normal(mean, spread, (n, terms)))
        case Pareto():
            least, index = toy.minimum, float(1 / np.mean(np.log(x[:, 0] / toy.minimum)))
            return lambda n, rng: least * (1 - rng.random((n, 1))) ** (-1 / index)
        case _:
            msg = f"no fit of the form of a {type(toy).__name__} is known"
            raise ConfigError(msg)


def _humps(x: FloatArray) -> Draw:
    mean = np.quantile(x, [0.25, 0.75])
    width, share = np.full(2, np.std(x) / 2), np.full(2, 0.5)
    for _ in range(_ITERATIONS):
        log_density = np.log(share) - np.log(width) - 0.5 * ((x[:, None] - mean) / width) ** 2
        mine = np.exp(log_density - np.logaddexp(*log_density.T)[:, None])
        total = mine.sum(axis=0)
        share, mean = total / len(x), mine.T @ x / total
        width = np.sqrt(np.maximum((mine * (x[:, None] - mean) ** 2).sum(axis=0) / total, _LEAST_VARIANCE))

    def draw(n: int, rng: np.random.Generator) -> FloatArray:
        hump = (rng.random(n) < share[1]).astype(np.int64)
        found: FloatArray = rng.normal(mean[hump], width[hump])[:, None]
        return found

    return draw


def _shell(mean: float, width: float, dimension: int) -> Draw:
    def draw(n: int, rng: np.random.Generator) -> FloatArray:
        direction = rng.normal(size=(n, dimension))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        found: FloatArray = rng.normal(mean, width, n)[:, None] * direction
        return found

    return draw
