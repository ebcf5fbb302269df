"""Dense networks as C: arrays of weights and one function from (encoded condition, noise) to network space."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from parhelion.deploy.ctext import LANES
from parhelion.errors import DataError
from parhelion.networks import MLP, ResidualMLP
from parhelion.networks.ramps import Ramps
from parhelion.surrogates import Gan, Student, Surrogate
from parhelion.surrogates.structure import FREE

FloatArray = npt.NDArray[np.float64]

_ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.LeakyReLU: "leaky_relu",
    nn.SiLU: "silu",
    nn.ELU: "elu",
    nn.Tanh: "hyperbolic_tangent",
}


@dataclass(frozen=True)
class Ramp:
    """Neighbouring ramps of one number.

    Attributes
    ----------
    value
        C expression of the number.
    marks
        Ends of the ramps, rising, shape (ramps + 1,).
    """

    value: str
    marks: FloatArray


@dataclass(frozen=True)
class OneHot:
    """A row of zeros with one 1.

    Attributes
    ----------
    index
        C expression of its place; negative: all are 0.
    count
        Width.
    """

    index: str
    count: int


# A string is the C expression of one number.
Group = str | Ramp | OneHot


@dataclass
class Source:
    """A C file in the making.

    Attributes
    ----------
    arrays
        Definitions of constants.
    most_rows
        Largest number of rows that a first layer may touch.
    slope
        Slope of leaky rectifiers below 0.
    group
        Rows that are made together.
    """

    arrays: list[str] = field(default_factory=list)
    most_rows: int = 1
    slope: float = 0.0
    group: int = 1

    def floats(self, name: str, values: FloatArray | Tensor) -> None:
        """Single-precision constants, flat or as a matrix."""
        array = np.asarray(values.detach().cpu().numpy() if isinstance(values, Tensor) else values, dtype=np.float32)
        shape = "".join(f"[{n}]" for n in array.shape)
        self.arrays.append(f"static const float {name}{shape} ALIGNED = {braces(array, single)};")

    def doubles(self, name: str, values: FloatArray | Tensor) -> None:
        """Double-precision constants."""
        array = np.asarray(values.detach().cpu().numpy() if isinstance(values, Tensor) else values, dtype=np.float64)
        shape = "".join(f"[{n}]" for n in array.shape)
        self.arrays.append(f"static const double {name}{shape} = {braces(array, double)};")

    def integers(self, name: str, values: Iterable[int]) -> None:
        """Integer constants."""
        given = list(values)
        self.arrays.append(f"static const int {name}[{len(given)}] = {{{', '.join(map(str, given))}}};")

    def layer(self, name: str, weight: FloatArray, bias: Tensor | FloatArray | None) -> int:
        """Constants ``name_w`` (inputs, width) and ``name_b`` of a layer; its padded width.

        `weight` has shape (inputs, outputs).
        """
        width = -(-int(weight.shape[1]) // LANES) * LANES
        pad = width - weight.shape[1]
        self.floats(f"{name}_w", np.pad(weight, [(0, 0), (0, pad)]).reshape(-1))
        given = np.zeros(weight.shape[1]) if bias is None else np.asarray(numpy_of(bias))
        self.floats(f"{name}_b", np.pad(given, (0, pad)))
        return width


def numpy_of(values: Tensor | FloatArray) -> FloatArray:
    """Parameters as doubles."""
    array: FloatArray = (
        values.detach().cpu().numpy().astype(np.float64) if isinstance(values, Tensor) else np.asarray(values)
    )
    return array


def single(value: float) -> str:
    """A float32 in C, exact."""
    return f"{double(float(np.float32(value)), 9)}f"


def double(value: float, digits: int = 17) -> str:
    """A double in C, exact."""
    text = f"{value:.{digits}g}"
    return text if any(c in text for c in ".en") else text + ".0"


def braces(array: npt.NDArray[np.generic], show: Callable[[float], str]) -> str:
    """An array of any shape as a C initialiser, in short lines."""
    if array.ndim > 1:
        return "{" + ",\n".join(braces(part, show) for part in array) + "}"
    words = [show(float(v)) for v in array.tolist()]
    lines = [", ".join(words[k : k + 8]) for k in range(0, len(words), 8)]
    return "{" + ",\n".join(lines) + "}"


def marks_of(ramps: Ramps) -> FloatArray:
    """Ends of a network's ramps, shape (ramps + 1,); none if it has no ramps."""
    low = numpy_of(ramps.low)
    return np.append(low, low[-1] + ramps.step) if len(low) else low


def first_layer(
    source: Source, groups: Sequence[Group], layer: nn.Linear, name: str, *, target: str | None = None
) -> tuple[list[str], int]:
    """Statements that fill ``in`` and compute the layer of the groups side by side, and its padded width.

    The answer goes to the buffer `target`, or to one with the layer's name.

    Of a run of ramps all below the number are 1: their rows are summed beforehand, so that a number costs two rows
    however many ramps it has.
    """
    weight = numpy_of(layer.weight).T
    rows: list[FloatArray] = []
    lines = ["in.count = 0;"]
    column = place = most = 0
    for number, group in enumerate(groups):
        if isinstance(group, str):
            rows.append(weight[column : column + 1])
            lines.append(f"take(&in, {place}, {group});")
            used, most = 1, most + 1
        elif isinstance(group, OneHot):
            used, most = group.count, most + 1
            rows.append(weight[column : column + used])
            lines.append(f"if ({group.index} >= 0) take(&in, {place} + {group.index}, 1.0);")
        else:
            used, most = len(group.marks) - 1, most + 2
            own = weight[column : column + used]
            rows += [own, np.cumsum(own, axis=0)]
            source.doubles(f"{name}_marks_{number}", group.marks)
            lines.append(f"ramps(&in, {place}, {used}, {name}_marks_{number}, (double)({group.value}));")
            place += used
        place += used
        column += used
    if column != len(weight):
        msg = f"C export: the first layer takes {len(weight)} numbers, but {column} are given; please report this"
        raise DataError(msg)
    source.most_rows = max(source.most_rows, most)
    width = source.layer(name, np.concatenate(rows), layer.bias)
    return [*lines, f"gather({target or name}, &in, {name}_w, {name}_b, {width});"], width


def _activate(source: Source, module: nn.Module, target: str, origin: str, width: int) -> str:
    if isinstance(module, nn.LeakyReLU):
        source.slope = float(module.negative_slope)
    if type(module) not in _ACTIVATIONS:
        msg = f"C export: {type(module).__name__} is no activation that it knows"
        raise DataError(msg)
    return f"{_ACTIVATIONS[type(module)]}({target}, {origin}, {width});"


def mlp(source: Source, network: MLP, groups: Sequence[Group]) -> list[str]:
    """Statements from ``in`` to ``out`` of a plain network."""
    modules = list(network)
    first = modules[0]
    assert isinstance(first, nn.Linear)
    lines, width = first_layer(source, groups, first, "h0")
    current, inputs = "h0", first.out_features
    sizes = [("h0", width)]
    for number, (activation, layer) in enumerate(zip(modules[1::2], modules[2::2], strict=True), start=1):
        if not isinstance(layer, nn.Linear):
            msg = f"C export: {type(layer).__name__} is no dense layer"
            raise DataError(msg)
        lines.append(_activate(source, activation, current, current, width))
        name = f"h{number}"
        new = source.layer(name, numpy_of(layer.weight).T, layer.bias)
        lines.append(f"dense({name}, {current}, {name}_w, {name}_b, {inputs}, {new});")
        sizes.append((name, new))
        current, inputs, width = name, layer.out_features, new
    return [buffers(sizes), *lines, f"const float *out = {current};"]


def residual(source: Source, network: ResidualMLP, groups: Sequence[Group]) -> list[str]:
    """Statements from ``in`` to ``out`` of a residual network."""
    lines, width = first_layer(source, groups, network.first, "h")
    units = network.first.out_features
    for number, block in enumerate(network.blocks):
        assert isinstance(block, nn.Sequential)
        first_activation, a, second_activation, b = block
        assert isinstance(a, nn.Linear)
        assert isinstance(b, nn.Linear)
        source.layer(f"a{number}", numpy_of(a.weight).T, a.bias)
        source.layer(f"b{number}", numpy_of(b.weight).T, b.bias)
        lines += [
            _activate(source, first_activation, "s", "h", width),
            f"dense(t, s, a{number}_w, a{number}_b, {units}, {width});",
            _activate(source, second_activation, "t", "t", width),
            f"dense(s, t, b{number}_w, b{number}_b, {units}, {width});",
            f"add(h, s, {width});",
        ]
    activation, last = network.last
    if not isinstance(last, nn.Linear):
        msg = f"C export: {type(last).__name__} is no dense layer"
        raise DataError(msg)
    outputs = source.layer("last", numpy_of(last.weight).T, last.bias)
    lines += [
        _activate(source, activation, "s", "h", width),
        f"dense(out, s, last_w, last_b, {units}, {outputs});",
    ]
    return [buffers([("h", width), ("s", width), ("t", width), ("out", outputs)]), *lines]


def buffers(named: Iterable[tuple[str, int]]) -> str:
    """Declarations of arrays of these padded widths."""
    return " ".join(f"float {name}[{width}] ALIGNED;" for name, width in named)


def _student(source: Source, surrogate: Surrogate, condition: Sequence[Group]) -> list[str]:
    assert isinstance(surrogate, Student)
    network = surrogate.network
    if not isinstance(network, ResidualMLP):
        from parhelion.deploy.cchain import quantile_chain

        return quantile_chain(source, network, condition, surrogate.codec.pattern.table == FREE)
    marks = marks_of(surrogate.ramps)
    groups: list[Group] = []
    for k in range(surrogate.noise_features):
        groups.append(f"noise[{k}]")
        if len(marks):
            groups.append(Ramp(f"noise[{k}]", marks))
    lines = residual(source, network, [*groups, *condition])
    return [*lines, f"for (int j = 0; j < {surrogate.schema.response_width}; j++) x[j] = noise[j] + out[j];"]


def _gan(source: Source, surrogate: Surrogate, condition: Sequence[Group]) -> list[str]:
    assert isinstance(surrogate, Gan)
    assert isinstance(surrogate.generator, MLP)
    noise: list[Group] = [f"noise[{k}]" for k in range(surrogate.noise_features)]
    lines = mlp(source, surrogate.generator, [*noise, *condition])
    return [*lines, f"for (int j = 0; j < {surrogate.schema.response_width}; j++) x[j] = out[j];"]


NETWORKS: dict[str, Callable[[Source, Surrogate, Sequence[Group]], list[str]]] = {"student": _student, "gan": _gan}


def network_lines(source: Source, surrogate: Surrogate, condition: Sequence[Group]) -> list[str]:
    """Statements from ``noise`` and the groups of the encoded condition to ``x`` in network space.

    Raises
    ------
    DataError
        This family is no dense network.
    """
    if surrogate.kind not in NETWORKS:
        msg = (
            f"a {surrogate.kind} surrogate cannot be written as C: only dense networks and cascades can, "
            f"of the kinds cascade, {' and '.join(sorted(NETWORKS))}; distil a student, or write an ONNX package"
        )
        raise DataError(msg)
    return NETWORKS[surrogate.kind](source, surrogate, condition)
