"""The registry of metrics: a new one is one entry here."""

from __future__ import annotations

from parhelion.evaluation.amplification import METRIC as AMPLIFICATION
from parhelion.evaluation.auc_map import METRIC as AUC_MAP
from parhelion.evaluation.boundaries import METRIC as BOUNDARIES
from parhelion.evaluation.classifier import METRIC as CLASSIFIER
from parhelion.evaluation.classifier_weights import METRIC as CLASSIFIER_WEIGHTS
from parhelion.evaluation.correlation import METRIC as CORRELATION
from parhelion.evaluation.curves import METRIC as CURVES
from parhelion.evaluation.differential import METRIC as DIFFERENTIAL
from parhelion.evaluation.efficiency import METRIC as EFFICIENCY
from parhelion.evaluation.frechet import METRIC as FRECHET
from parhelion.evaluation.histograms import METRIC as HISTOGRAMS
from parhelion.evaluation.kernel import METRIC as KERNEL_DISTANCE
from parhelion.evaluation.memorisation import METRIC as MEMORISATION
from parhelion.evaluation.metric import Metric
from parhelion.evaluation.nplm import METRIC as NPLM
from parhelion.evaluation.posterior import METRIC as POSTERIOR
from parhelion.evaluation.prdc import METRIC as PRDC
from parhelion.evaluation.resolution import METRIC as RESOLUTION
from parhelion.evaluation.sigma import METRIC as SIGMA
from parhelion.evaluation.sliced import METRIC as SLICED
from parhelion.evaluation.structure import METRIC as STRUCTURE
from parhelion.evaluation.tails import METRIC as TAILS
from parhelion.evaluation.train_on_generated import METRIC as TRAIN_ON_GENERATED
from parhelion.evaluation.usable import METRIC as USABLE_SIZE

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
