"""Surrogates: one contract, one module a family."""

from __future__ import annotations

import os

from parhelion.surrogates.base import Batch, Draws, Loss, Surrogate, SurrogateConfig, read_surrogate
from parhelion.surrogates.bibae import BibAe
from parhelion.surrogates.calogan import CaloGan
from parhelion.surrogates.cascade import Cascade
from parhelion.surrogates.codec import Codec, CodecConfig, StructureConfig
from parhelion.surrogates.flow import Flow
from parhelion.surrogates.gan import Gan
from parhelion.surrogates.image_gan import ImageGan
from parhelion.surrogates.library import Library
from parhelion.surrogates.matching import Matching, Student

SURROGATES: dict[str, type[Surrogate]] = {
    s.kind: s for s in (Matching, Student, Flow, Library, Gan, Cascade, ImageGan, CaloGan, BibAe)
}


def load(path: str | os.PathLike[str]) -> Surrogate:
    """Read a surrogate of any family from its file (see `read_surrogate` for errors)."""
    return read_surrogate(path, SURROGATES)


__all__ = [
    "SURROGATES",
    "Batch",
    "BibAe",
    "CaloGan",
    "Cascade",
    "Codec",
    "CodecConfig",
    "Draws",
    "Flow",
    "Gan",
    "ImageGan",
    "Library",
    "Loss",
    "Matching",
    "StructureConfig",
    "Student",
    "Surrogate",
    "SurrogateConfig",
    "load",
]
