"""Invertible maps between physical units and network space, fitted with signed weights."""

from __future__ import annotations

from parhelion.transforms.base import Transform
from parhelion.transforms.chain import TRANSFORMS, Chain, build_transform
from parhelion.transforms.elementwise import Affine, Logit, Symlog
from parhelion.transforms.quantile import Quantile
from parhelion.transforms.voxels import Voxels

__all__ = ["TRANSFORMS", "Affine", "Chain", "Logit", "Quantile", "Symlog", "Transform", "Voxels", "build_transform"]
