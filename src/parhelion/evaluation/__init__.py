"""Metrics that compare a generated sample with its reference, and the verdict on them.

Each metric is a pure function of two samples with signed weights, its options and a seed. It answers with quantities,
each a value with its standard error, and with its null: what reference against reference gives at the same sizes.
A new metric is one entry in `METRICS`.
"""

from __future__ import annotations

from parhelion.evaluation.arrays import compare_arrays
from parhelion.evaluation.classifiers.classifier import ClassifierOptions, classifier
from parhelion.evaluation.classifiers.classifier_weights import ClassifierWeightsOptions
from parhelion.evaluation.distances.frechet import FrechetOptions
from parhelion.evaluation.distances.kernel import KernelDistanceOptions
from parhelion.evaluation.distances.sliced import SlicedOptions
from parhelion.evaluation.distributions.curves import CurveOptions
from parhelion.evaluation.distributions.differential import DifferentialOptions
from parhelion.evaluation.distributions.histograms import HistogramOptions, histograms
from parhelion.evaluation.distributions.resolution import ResolutionOptions
from parhelion.evaluation.distributions.tails import TailOptions
from parhelion.evaluation.evaluating import evaluate, thin, thin_both
from parhelion.evaluation.inference.posterior import PosteriorOptions
from parhelion.evaluation.inference.usable import UsableSizeOptions
from parhelion.evaluation.model.amplification import AmplificationOptions
from parhelion.evaluation.neighbours.memorisation import MemorisationOptions
from parhelion.evaluation.neighbours.nplm import NplmOptions
from parhelion.evaluation.neighbours.prdc import PrdcOptions
from parhelion.evaluation.physics.auc_map import AucMapOptions, AucPair, auc_map
from parhelion.evaluation.physics.boundaries import BoundariesOptions
from parhelion.evaluation.physics.correlation import CorrelationOptions, correlation
from parhelion.evaluation.physics.efficiency import Cut, EfficiencyOptions, efficiency
from parhelion.evaluation.physics.sigma import SigmaOptions
from parhelion.evaluation.physics.structure import StructureOptions, structure
from parhelion.evaluation.physics.train_on_generated import TrainOnGeneratedOptions
from parhelion.evaluation.registry import METRICS
from parhelion.evaluation.results.metric import Metric
from parhelion.evaluation.results.result import Bin, MetricResult, Quantity
from parhelion.evaluation.results.verdict import Outcome, Requirement, Verdict, judge
from parhelion.evaluation.statistics.auc import auc, bootstrap_auc, delong, placements
from parhelion.evaluation.statistics.one_dimensional import separation_power, wasserstein

__all__ = [
    "METRICS",
    "AmplificationOptions",
    "AucMapOptions",
    "AucPair",
    "Bin",
    "BoundariesOptions",
    "ClassifierOptions",
    "ClassifierWeightsOptions",
    "CorrelationOptions",
    "CurveOptions",
    "Cut",
    "DifferentialOptions",
    "EfficiencyOptions",
    "FrechetOptions",
    "HistogramOptions",
    "KernelDistanceOptions",
    "MemorisationOptions",
    "Metric",
    "MetricResult",
    "NplmOptions",
    "Outcome",
    "PosteriorOptions",
    "PrdcOptions",
    "Quantity",
    "Requirement",
    "ResolutionOptions",
    "SigmaOptions",
    "SlicedOptions",
    "StructureOptions",
    "TailOptions",
    "TrainOnGeneratedOptions",
    "UsableSizeOptions",
    "Verdict",
    "auc",
    "auc_map",
    "bootstrap_auc",
    "classifier",
    "compare_arrays",
    "correlation",
    "delong",
    "efficiency",
    "evaluate",
    "histograms",
    "judge",
    "placements",
    "separation_power",
    "structure",
    "thin",
    "thin_both",
    "wasserstein",
]
