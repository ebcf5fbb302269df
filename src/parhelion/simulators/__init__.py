"""Simulators make reference samples: the expensive simulation that a surrogate copies.

Each has a ``SCHEMA`` and a function ``simulate(n, *, seed, ...)`` that yields Samples in order, n rows in all. The rows
depend on the seed and on physics alone, not on chunk size or number of processes.
"""
