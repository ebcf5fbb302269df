"""Typed errors. Each carries one sentence for the person who caused it; the command line prints it and exits with 2."""

from __future__ import annotations


class ParhelionError(Exception):
    """Base of every error that a user can cause or must hear about.

    The message is one sentence: what is wrong, where, what was expected, what to do.
    """

    exit_code = 2


class DataError(ParhelionError):
    """A file, a column or a row is not what was declared."""


class ShapeError(ParhelionError):
    """An array has another shape than expected."""


class ConfigError(ParhelionError):
    """A study file or an option is wrong; the message names the file and the line."""


class DomainError(ParhelionError):
    """A condition lies outside the range that the surrogate saw in training."""


class TrainingError(ParhelionError):
    """Training cannot go on; the message names the step and the last good checkpoint."""


class Interrupted(ParhelionError):
    """A person or the batch system stopped the work; the message tells how to go on."""

    exit_code = 130


class WriteError(ParhelionError):
    """An output could not be written; nothing half-written was left."""


class ClusterError(ParhelionError):
    """Workers or their scheduler were lost for good, or cannot do the work; what was done is kept."""


class SimulationError(ParhelionError):
    """An engine of a simulator failed; what was finished is kept."""


class MissingDependencyError(ParhelionError):
    """An optional package is needed; the message gives the install command."""
