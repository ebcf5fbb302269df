"""Building blocks of networks: plain, exportable, free of cross-talk between rows."""

from __future__ import annotations

from parhelion.networks.mlp import MLP, Activation, ResidualMLP, TimeEmbedding, make_activation

__all__ = ["MLP", "Activation", "ResidualMLP", "TimeEmbedding", "make_activation"]
