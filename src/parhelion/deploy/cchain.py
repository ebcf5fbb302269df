"""A chain of quantile functions as C."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn

from parhelion.deploy.cnetworks import Group, Ramp, Source, buffers, first_layer, marks_of, numpy_of
from parhelion.deploy.ctext import LANES
from parhelion.networks.quantiles import QuantileChain


def quantile_chain(source: Source, network: QuantileChain, condition: Sequence[Group], free: Tensor) -> list[str]:
    """Statements from ``noise`` and the groups of the encoded condition to ``x``, one entry after the other.

    Parameters
    ----------
    source
        The file.
    network
        The chain.
    condition
        Groups of the encoded condition.
    free
        Which entries each pattern leaves free, shape (patterns, d), bool.
    """
    entries = len(network.sequence)
    source.integers("free_entry", (int(v) for v in free.reshape(-1).tolist()))
    trunk, trunk_width = first_layer(source, condition, network.trunk, "trunk")
    unit = -(-network.width // LANES) * LANES
    # Each entry's units start at a multiple of the lanes; behind them, centres and zooms of the ramps of all entries.
    weight, bias = numpy_of(network.first.weight).T, numpy_of(network.first.bias)
    split, pad = entries * network.width, [(0, 0), (0, 0), (0, unit - network.width)]
    wide, long = (
        np.pad(part[:, :split].reshape(len(part), entries, -1), pad).reshape(len(part), -1)
        for part in (weight, bias[None])
    )
    shared = source.layer(
        "shared", np.concatenate([wide, weight[:, split:]], axis=1), np.concatenate([long[0], bias[split:]])
    )
    basis = _basis(source, network)
    functions = network.functions.out_features
    width = 2 + functions + 3 * network.steps
    outputs, centres = -(-width // LANES) * LANES, entries * unit
    lines = [
        buffers([("trunk", trunk_width), ("shared", shared), ("h", unit), ("t", unit), ("o", outputs)]),
        f"float basis[{entries}][{basis}] ALIGNED, seen[{entries}];",
        *trunk,
        f"relu(trunk, trunk, {trunk_width});",
        f"dense(shared, trunk, shared_w, shared_b, {network.trunk.out_features}, {shared});",
        f"for (int j = 0; j < {entries}; j++) {{",
        "    in.count = 0;",
        "    take(&in, 0, noise[j]);",
        f"    ramps(&in, 1, {_pieces(network)}, basis_marks, (double)noise[j]);",
        f"    squares(&in, 1, {_pieces(network)}, {1 + 2 * _pieces(network)});",
        f"    gather(basis[j], &in, basis_w, basis_b, {basis});",
        "}",
    ]
    source.most_rows = max(source.most_rows, 4)
    marks = marks_of(network.ramps)
    for place, entry in enumerate(network.sequence):
        lines.append(f"memcpy(h, shared + {place * unit}, sizeof h);")
        if place:
            known: list[Group] = []
            for earlier in range(place):
                known += [f"seen[{earlier}]", *([Ramp(f"seen[{earlier}]", marks)] if len(marks) else [])]
            layer = network.known[place - 1]
            assert isinstance(layer, nn.Linear)
            statements, _ = first_layer(source, known, layer, f"known{place}", target="t")
            lines += [*statements, f"add(h, t, {unit});"]
        lines.append(f"relu(h, h, {unit});")
        hidden = network.hidden[place]
        assert isinstance(hidden, nn.ModuleList)
        for number, layer in enumerate(hidden):
            assert isinstance(layer, nn.Linear)
            name = f"hidden{place}_{number}"
            source.layer(name, numpy_of(layer.weight).T, layer.bias)
            lines += [f"dense(t, h, {name}_w, {name}_b, {network.width}, {unit});", f"relu(h, t, {unit});"]
        last = network.last[place]
        assert isinstance(last, nn.Linear)
        source.layer(f"last{place}", numpy_of(last.weight).T, last.bias)
        lines += [
            f"dense(o, h, last{place}_w, last{place}_b, {network.width}, {outputs});",
            f"x[{entry}] = curve(o, basis[{entry}], noise[{entry}], {functions}, {network.steps});",
            f"if (!free_entry[{entries} * pattern + {entry}]) x[{entry}] = 0.0f;",
            f"seen[{place}] = (x[{entry}] - shared[{centres + place}]) * expf(shared[{centres + entries + place}]);",
        ]
    return lines


def _pieces(network: QuantileChain) -> int:
    return len(network.pieces.low)


def _basis(source: Source, network: QuantileChain) -> int:
    """Constants of the functions of the noise: the noise's row, its ramps', their running sums', their squares'."""
    weight = numpy_of(network.functions.weight).T
    pieces = _pieces(network)
    ramps, squares = weight[1 : 1 + pieces], weight[1 + pieces :]
    source.doubles("basis_marks", marks_of(network.pieces))
    # Where a ramp is 1, so is its square.
    rows = np.concatenate([weight[:1], ramps, np.cumsum(ramps + squares, axis=0), squares])
    return source.layer("basis", rows, network.functions.bias)
