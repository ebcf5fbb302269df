"""Toy samples in the shape of particle identification: species, momentum, pseudorapidity, two DLL-like responses."""

from __future__ import annotations

import numpy as np

from parhelion.sample import Field, Sample, Schema

SCHEMA = Schema(
    condition=(
        Field("P", "GeV"),
        Field("ETA"),
        Field("Type", kind="category", values=(211, 321), labels=("pi", "K")),
    ),
    response=(Field("DLLk"), Field("DLLp")),
)


def respond(rng, p, species, shift=0.0, width=1.0):
    """Responses whose mean falls with momentum; tied below 20 GeV and zero for one row in twenty."""
    mean = np.where(species == 321, 1.0, -1.0) * (1.5 - p / 100.0) + shift
    k = mean + width * rng.normal(size=len(p))
    proton = k + 0.5 * rng.normal(size=len(p))
    proton = np.where(p < 20.0, k, proton)
    empty = rng.random(len(p)) < 0.05
    return np.column_stack([np.where(empty, 0.0, k), np.where(empty, 0.0, proton)])


def toy(n, seed, *, first_id=0, signed=False, group_size=1):
    """A reference sample of n rows.

    With `signed`, about 40 % of the rows are background with other responses (shifted by 1.5); their sWeight-like
    weights cancel it: the weighted sample stands for the signal alone, with about a quarter of negative weights.
    """
    rng = np.random.default_rng(seed)
    p = rng.uniform(3.0, 100.0, n)
    eta = rng.uniform(2.0, 5.0, n)
    species = np.where(rng.random(n) < 0.5, 321, 211)
    response = respond(rng, p, species)
    weight = np.ones(n)
    if signed:
        background = rng.random(n) < 0.4
        response[background] = respond(rng, p[background], species[background], shift=1.5)
        # A two-valued mass: in the peak with probability 0.9 (signal) or 0.35 (background); the weights solve
        # E[w | signal] = 1 and E[w | background] = 0.
        peak = rng.random(n) < np.where(background, 0.35, 0.9)
        a, b = np.linalg.solve([[0.9, 0.1], [0.35, 0.65]], [1.0, 0.0])
        weight = np.where(peak, a, b)
    ids = np.arange(first_id, first_id + n)
    return Sample(
        SCHEMA,
        {"P": p, "ETA": eta, "Type": species, "DLLk": response[:, 0], "DLLp": response[:, 1]},
        weight=weight,
        event_id=ids,
        group=ids // group_size,
        source="reference",
    )


def copy_of(reference, seed, *, shift=0.0, width=1.0):
    """Responses generated at the reference's conditions: the truth, shifted and widened."""
    rng = np.random.default_rng([seed, 1])
    response = respond(rng, reference["P"], reference["Type"], shift, width)
    return reference.with_response(response, source="generated")
