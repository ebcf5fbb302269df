"""The registry of metrics: a new one is one entry here."""

from __future__ import annotations

from parhelion.evaluation.classifiers.classifier import METRIC as CLASSIFIER
from parhelion.evaluation.classifiers.classifier_weights import METRIC as CLASSIFIER_WEIGHTS
from parhelion.evaluation.distances.frechet import METRIC as FRECHET
from parhelion.evaluation.distances.kernel import METRIC as KERNEL_DISTANCE
from parhelion.evaluation.distances.sliced import METRIC as SLICED
from parhelion.evaluation.distributions.curves import METRIC as CURVES
from parhelion.evaluation.distributions.differential import METRIC as DIFFERENTIAL
from parhelion.evaluation.distributions.histograms import METRIC as HISTOGRAMS
from parhelion.evaluation.distributions.resolution import METRIC as RESOLUTION
from parhelion.evaluation.distributions.tails import METRIC as TAILS
from parhelion.evaluation.inference.posterior import METRIC as POSTERIOR
from parhelion.evaluation.inference.usable import METRIC as USABLE_SIZE
from parhelion.evaluation.model.amplification import METRIC as AMPLIFICATION
from parhelion.evaluation.neighbours.memorisation import METRIC as MEMORISATION
from parhelion.evaluation.neighbours.nplm import METRIC as NPLM
from parhelion.evaluation.neighbours.prdc import METRIC as PRDC
from parhelion.evaluation.physics.auc_map import METRIC as AUC_MAP
from parhelion.evaluation.physics.boundaries import METRIC as BOUNDARIES
from parhelion.evaluation.physics.correlation import METRIC as CORRELATION
from parhelion.evaluation.physics.efficiency import METRIC as EFFICIENCY
from parhelion.evaluation.physics.sigma import METRIC as SIGMA
from parhelion.evaluation.physics.structure import METRIC as STRUCTURE
from parhelion.evaluation.physics.train_on_generated import METRIC as TRAIN_ON_GENERATED
from parhelion.evaluation.results.metric import Metric

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        USABLE_SIZE,
        CLASSIFIER,
        CLASSIFIER_WEIGHTS,
        AUC_MAP,
        EFFICIENCY,
        STRUCTURE,
        CORRELATION,
        SIGMA,
        TRAIN_ON_GENERATED,
        BOUNDARIES,
        HISTOGRAMS,
        DIFFERENTIAL,
        CURVES,
        RESOLUTION,
        TAILS,
        FRECHET,
        KERNEL_DISTANCE,
        SLICED,
        NPLM,
        PRDC,
        MEMORISATION,
        AMPLIFICATION,
        POSTERIOR,
    )
}
