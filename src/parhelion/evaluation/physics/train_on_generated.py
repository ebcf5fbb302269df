"""Train on generated, test on reference (TSTR).

A model is trained for a task of physics (tell two categories apart, or regress a field) on reference rows, another on
as many generated rows, and both are tested on the same held-out reference rows. The gap between them is what an
analysis loses that trains on the surrogate (Esteban, Hyland & Raetsch, arXiv:1706.02633). With the roles of the
samples exchanged the test rows are generated.

A weak model hides a gap and a small sample drowns it, so the gap is shown at several training sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, t

from parhelion.errors import ConfigError
from parhelion.evaluation.physics.transfer import SMALLEST, Examples, Measured, Score, transfer
from parhelion.evaluation.results.metric import Metric
from parhelion.evaluation.results.result import MetricResult, Quantity
from parhelion.evaluation.samples.binning import category_code, scalar
from parhelion.evaluation.samples.comparison import Comparison, compare
from parhelion.evaluation.samples.features import Features, choose_features
from parhelion.sample import Sample

IntArray = npt.NDArray[np.int64]

NAME = "train_on_generated"


@dataclass(frozen=True)
class Task:
    """What is to be learned.

    Attributes
    ----------
    target
        Scalar field: a category to tell apart, or a number to regress.
    pair
        For a category, the two values (label or code), the first one positive; may be left out if it has just two.
    features
        Fields that the model sees; all responses and conditions but the target if empty.
    """

    target: str
    pair: tuple[str, str] | None = None
    features: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainOnGeneratedOptions:
    """Options of `train_on_generated`.

    Attributes
    ----------
    tasks
        The tasks; one result each.
    sizes
        Training sizes (rows) of the curve, besides the largest one that the blocks allow; a 16th and a quarter of
        that if empty.
    blocks
        Independent training sets in each fold; their spread tells how much the training matters.
    test_rows
        Each fold is tested on at most this many rows.
    trees, learning_rate, min_leaf
        Boosted trees: their number, their learning rate, the least number of rows in a leaf.
    """

    tasks: tuple[Task, ...]
    sizes: tuple[int, ...] = ()
    blocks: int = 4
    test_rows: int = 20_000
    trees: int = 60
    learning_rate: float = 0.1
    min_leaf: int = 20

    def __post_init__(self) -> None:
        """Check ranges."""
        if not self.tasks:
            msg = f"metric {NAME}: no tasks; give at least one with a target"
            raise ConfigError(msg)
        if self.blocks < 2 or self.trees < 1 or self.min_leaf < 1 or not 0 < self.learning_rate <= 1:
            msg = (
                f"metric {NAME}: blocks {self.blocks}, trees {self.trees}, min_leaf {self.min_leaf}, learning_rate "
                f"{self.learning_rate:g}; expected at least 2, 1 and 1, and above 0 up to 1"
            )
            raise ConfigError(msg)
        smallest = min((*self.sizes, self.test_rows))
        if smallest < SMALLEST:
            msg = f"metric {NAME}: sizes or test_rows {smallest}, expected at least {SMALLEST} rows"
            raise ConfigError(msg)


def train_on_generated(
    reference: Sample, generated: Sample, options: TrainOnGeneratedOptions, *, seed: int
) -> list[MetricResult]:
    """Score of models taught by the reference minus that of models taught by the generated sample.

    The groups fall into two folds, and the rows of a fold outside the test into `blocks` training sets; a block
    holds the same groups of both samples where they are paired, so that no condition is in training and test. All
    models of one size see equally many rows. Scores: AUC (DeLong et al. 1988; signed weights as in `auc`) for
    two categories, R^2 for a number.

    `gap` is the score of reference-trained minus that of generated-trained models on reference rows; `reverse_gap` is
    the distance |score on reference rows - score on generated rows| of reference-trained models (TRTS), which sees
    generated rows that are harder or easier to understand than real ones.

    Errors: see `transfer`; blocks and test rows are crossed random effects, rows summed over groups. Null: two samples
    of one law teach, and are understood, equally well, so the gap is 0; its spread is that of reference blocks
    against reference blocks. P-value of `gap`: one-sided, gap / error, by Student's t with as many degrees of
    freedom as the error has, few where the spread over blocks rules it; of `reverse_gap`: two-sided and normal, which
    is one-sided for the distance.

    Signed weights: losses with negative weights have no lower bound, so models are taught with the conditional mean of
    the weight given features and target, regressed by trees and cut at 0 (Borisyak & Kazeev, arXiv:1905.11719,
    section 3); the test rows keep their signed weights. Background that weights cancel still makes a worse teacher than
    a sample without it: the gap of a perfect surrogate is then below 0, and its p-value large.

    Parameters
    ----------
    reference, generated
        Samples with equal fields.
    options
        See `TrainOnGeneratedOptions`.
    seed
        Seed of folds, blocks and trees.

    Returns
    -------
    list of MetricResult
        One a task. Quantities at the largest size: `gap` (main), `reverse_gap`. Details: ``target``, ``pair``,
        ``score`` ("AUC" or "R²"), ``features``, ``blocks``, ``trees``, ``signed_training``, ``scores`` (teacher and
        test: value and error, at the largest size), ``curve`` with ``sizes``, ``reference``, ``reference_error``,
        ``generated``, ``generated_error``, ``gap``, ``gap_error``, ``null_error`` by size, tested on reference rows.

    Raises
    ------
    ConfigError
        An option names an unknown field or category, the target is among the features, or a category of several values
        comes without a pair.
    DataError
        The samples are too small, or a training or test set has no positive sum of weights.
    """
    comparison = compare(reference, generated)
    return [_one_task(comparison, task, options, seed) for task in options.tasks]


def _one_task(comparison: Comparison, task: Task, options: TrainOnGeneratedOptions, seed: int) -> MetricResult:
    reference = comparison.reference
    field, _ = scalar(reference, task.target, NAME)
    features = _features(reference, task)
    codes: tuple[float, float] | None = None
    if field.kind == "category":
        if task.pair is None and len(field.values) != 2:
            msg = f"metric {NAME}: {field.name} has {len(field.values)} values; name the two to tell apart in `pair`"
            raise ConfigError(msg)
        wanted: tuple[str | float, str | float] = task.pair or (field.values[0], field.values[1])
        codes = (category_code(field, wanted[0], NAME), category_code(field, wanted[1], NAME))
    elif task.pair is not None:
        msg = f"metric {NAME}: {field.name} is {field.kind} and takes no pair; it is regressed"
        raise ConfigError(msg)
    score: Score = "r2" if codes is None else "auc"
    ours = _examples(reference, features, task, codes, comparison.reference_group)
    theirs = _examples(comparison.generated, features, task, codes, comparison.generated_group)
    steps = transfer(
        ours,
        theirs,
        score,
        sizes=options.sizes,
        blocks=options.blocks,
        test_rows=options.test_rows,
        trees=options.trees,
        learning_rate=options.learning_rate,
        min_leaf=options.min_leaf,
        seed=seed,
    )
    last = steps[-1]
    labels = None if codes is None else [field.label_of(code) for code in codes]
    what = task.target if labels is None else f"{labels[0]}-{labels[1]}"
    title = "R²" if codes is None else "AUC"
    how = f"regressing {task.target}" if labels is None else f"telling {labels[0]} from {labels[1]}"
    return MetricResult(
        name=NAME,
        on=f"{what} from {', '.join(task.features)}" if task.features else what,
        main="gap",
        quantities={
            "gap": _quantity(last.gap, last.null_error),
            "reverse_gap": _distance(last.reverse_gap),
        },
        details={
            **comparison.describe(),
            "target": task.target,
            "pair": labels,
            "score": title,
            "features": list(features.names),
            "blocks": options.blocks,
            "trees": options.trees,
            "signed_training": bool(np.any(ours.weight < 0) or np.any(theirs.weight < 0)),
            "scores": {
                f"{teacher} to {test}": {"value": found.value, "error": found.error}
                for teacher, test, found in (
                    ("reference", "reference", last.reference_reference),
                    ("generated", "reference", last.generated_reference),
                    ("generated", "generated", last.generated_generated),
                    ("reference", "generated", last.reference_generated),
                )
            },
            "curve": {
                "sizes": [s.size for s in steps],
                "reference": [s.reference_reference.value for s in steps],
                "reference_error": [s.reference_reference.error for s in steps],
                "generated": [s.generated_reference.value for s in steps],
                "generated_error": [s.generated_reference.error for s in steps],
                "gap": [s.gap.value for s in steps],
                "gap_error": [s.gap.error for s in steps],
                "null_error": [s.null_error for s in steps],
            },
            "caption": (
                f"Boosted trees for {how}, taught by {last.size} reference or generated rows: on reference rows the "
                f"{title} is {last.reference_reference.value:.4f} or {last.generated_reference.value:.4f}."
            ),
        },
        fields=tuple(f.name for f in features.fields if f in (*reference.schema.response, *reference.schema.extra))
        + ((task.target,) if field in (*reference.schema.response, *reference.schema.extra) else ()),
    )


def _features(reference: Sample, task: Task) -> Features:
    schema = reference.schema
    if task.target in task.features:
        msg = f"metric {NAME}: the target {task.target} is among the features; leave it out of them"
        raise ConfigError(msg)
    names = task.features or tuple(f.name for f in (*schema.response, *schema.condition) if f.name != task.target)
    if not names:
        msg = f"metric {NAME}: no fields besides the target {task.target}; name features"
        raise ConfigError(msg)
    return choose_features(reference, NAME, fields=names, conditions=False, scaling="none")


def _examples(
    sample: Sample, features: Features, task: Task, codes: tuple[float, float] | None, group: IntArray
) -> Examples:
    target = sample.columns[task.target].astype(np.float64)
    examples = Examples(features.of(sample), target, sample.weight, group)
    if codes is None:
        return examples
    chosen = examples.take(np.isin(target, codes))
    return Examples(chosen.features, (chosen.target == codes[0]).astype(np.float64), chosen.weight, chosen.group)


def _quantity(found: Measured, null_error: float) -> Quantity:
    # Equal samples make equal models, and nothing can vary.
    p_value = float(t.sf(found.value / found.error, found.degrees)) if found.error > 0 else float(found.value <= 0)
    return Quantity(found.value, found.error, 0.0, null_error, p_value)


def _distance(found: Measured) -> Quantity:
    """Distance from 0; its null is the distance of a normal number from its mean."""
    value, error = abs(found.value), found.error
    return Quantity(
        value=value,
        error=error,
        null=error * float(np.sqrt(2.0 / np.pi)),
        null_error=error * float(np.sqrt(1.0 - 2.0 / np.pi)),
        p_value=float(2.0 * norm.sf(value / error)) if error > 0 else float(value <= 0),
    )


METRIC = Metric(
    NAME,
    TrainOnGeneratedOptions,
    train_on_generated,
    ("gap", "reverse_gap"),
    "physics",
)
