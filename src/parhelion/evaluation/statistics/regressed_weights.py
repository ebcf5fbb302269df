"""Signed weights as their conditional mean, for losses that have no lower bound with negative ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def regressed_weight(
    features: FloatArray,
    weight: FloatArray,
    *,
    categorical: BoolArray | None = None,
    trees: int = 60,
    min_leaf: int = 100,
    seed: int = 0,
) -> FloatArray:
    """Weights that a loss can bear: as they are, or their conditional mean if some are negative.

    The log-likelihood has no lower bound with negative weights; their conditional mean, regressed by boosted trees
    with squared loss and cut at 0, makes the same density (Borisyak & Kazeev, arXiv:1905.11719, section 3).

    Parameters
    ----------
    features, weight
        Shapes (n, d) and (n,); weights are signed. What is to be learned within one call must be among the features:
        the mean weight of one class must not go to another.
    categorical
        Which features are categories, shape (d,); none if not given.
    trees, min_leaf, seed
        Number of trees, least number of rows in a leaf, and the seed.

    Returns
    -------
    ndarray
        Shape (n,), not negative.
    """
    if not np.any(weight < 0):
        return weight
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(
        max_iter=trees,
        learning_rate=0.1,
        min_samples_leaf=min_leaf,
        categorical_features=categorical,
        early_stopping=False,
        random_state=seed % 2**32,
    )
    return np.maximum(np.asarray(model.fit(features, weight).predict(features), dtype=np.float64), 0.0)
