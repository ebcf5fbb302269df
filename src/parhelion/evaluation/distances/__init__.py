"""Distances between distributions in many dimensions: Frechet, kernel and sliced, with their nulls by blocks."""
