"""Metrics that compare a generated sample with its reference, and the verdict on them.

Each metric is a pure function of two samples with signed weights, its options and a seed. It answers with quantities,
each a value with its standard error, and with its null: what reference against reference gives at the same sizes.
A new metric is one entry in `METRICS`.
"""

from __future__ import annotations

from parhelion.evaluation.amplification import AmplificationOptions
from parhelion.evaluation.arrays import compare_arrays
from parhelion.evaluation.auc import auc, bootstrap_auc, delong, placements
from parhelion.evaluation.auc_map import AucMapOptions, AucPair, auc_map
from parhelion.evaluation.boundaries import BoundariesOptions
from parhelion.evaluation.classifier import ClassifierOptions, classifier
from parhelion.evaluation.classifier_weights import ClassifierWeightsOptions
from parhelion.evaluation.correlation import CorrelationOptions, correlation
from parhelion.evaluation.curves import CurveOptions
from parhelion.evaluation.differential import DifferentialOptions
from parhelion.evaluation.distances import separation_power, wasserstein
from parhelion.evaluation.efficiency import Cut, EfficiencyOptions, efficiency
from parhelion.evaluation.evaluating import evaluate, thin, thin_both
from parhelion.evaluation.frechet import FrechetOptions
from parhelion.evaluation.histograms import HistogramOptions, histograms
from parhelion.evaluation.kernel import KernelDistanceOptions
from parhelion.evaluation.memorisation import MemorisationOptions
from parhelion.evaluation.metric import Metric
from parhelion.evaluation.nplm import NplmOptions
from parhelion.evaluation.posterior import PosteriorOptions
from parhelion.evaluation.prdc import PrdcOptions
from parhelion.evaluation.registry import METRICS
from parhelion.evaluation.resolution import ResolutionOptions
from parhelion.evaluation.result import Bin, MetricResult, Quantity
from parhelion.evaluation.sigma import SigmaOptions
from parhelion.evaluation.sliced import SlicedOptions
from parhelion.evaluation.structure import StructureOptions, structure
from parhelion.evaluation.tails import TailOptions
from parhelion.evaluation.train_on_generated import TrainOnGeneratedOptions
from parhelion.evaluation.usable import UsableSizeOptions
from parhelion.evaluation.verdict import Outcome, Requirement, Verdict, judge

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
