"""A cascade as C: tables of its networks and of the places of its blocks, and the functions that walk through them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn

from parhelion.deploy.cnetworks import FloatArray, Group, OneHot, Source, braces, numpy_of, single
from parhelion.deploy.ctext import LANES
from parhelion.deploy.ctext_cascade import DIVIDING, NUMBER_LANES, PATTERN_LANES
from parhelion.surrogates import Cascade
from parhelion.surrogates.cascade.family import FAR
from parhelion.surrogates.cascade.splitter import LOG_SCALE, PATTERNS, Mixture, Splitter

# Showers at once: their maps and noise shall fit a core's cache.
_MOST_GROUP = 8
_GROUP_BYTES = 1 << 18


def cascade_source(source: Source, surrogate: Cascade, encode: Sequence[str], groups: Sequence[Group]) -> str:
    """Tables, and the function ``cascade`` from conditions and noise to maps of energy.

    Parameters
    ----------
    source
        The file.
    surrogate
        The cascade.
    encode
        Statements that find ``pattern`` and scale ``condition`` into ``scaled``.
    groups
        Groups of the encoded condition.
    """
    starts = [0]
    for k in range(surrogate.pyramid.depth + 1):
        starts.append(starts[-1] + surrogate.pyramid.stride(k))
    features, inputs = _encoded(source, groups)
    widest = _padded(_first(surrogate.total).out_features)
    splitters = iter([m for m in surrogate.splitters if isinstance(m, Splitter)])
    phases: list[str] = []
    levels: list[str] = []
    noise, most_seen, most_far, most_told = 2, 1, 1, 1
    far_width = surrogate.config.context_width
    for k, level in enumerate(surrogate.pyramid.levels):
        first, told = len(phases), 0
        own: list[Splitter] = []
        for phase in level.phases:
            splitter = next(splitters)
            name = f"phase{len(phases)}"
            phases.append(_phase(source, splitter, name, noise, told, phase.inside))
            own.append(splitter)
            noise += splitter.noise_features
            told += _padded(splitter.width)
            widest = max(widest, _padded(splitter.width))
            most_seen = max(most_seen, splitter.see.shape[1])
        entries = [starts[i] + int(entry) for i, seen in level.seen for entry in seen]
        context = surrogate.contexts[k]
        assert isinstance(context, nn.Sequential)
        near, tell = context[0], context[2]
        assert isinstance(near, nn.Linear)
        assert isinstance(tell, nn.Linear)
        source.integers(f"level{k}_entries", entries)
        source.layer(f"level{k}_far", numpy_of(near.weight).T, near.bias)
        _tell(source, f"level{k}_tell", tell, own)
        most_far, most_told = max(most_far, inputs + 2 + len(entries)), max(most_told, told)
        names = ", ".join(f"level{k}_{part}" for part in ("entries", "far_w", "far_b", "tell_w", "tell_b"))
        levels.append(f"{{{starts[k]}, {first}, {len(phases)}, {len(entries)}, {told}, {names}}}")
    totals = _total(source, surrogate)
    positions = np.atleast_2d(surrogate.positions.cpu().numpy()) + starts[-3]
    source.integers("positions", positions.reshape(-1).tolist())
    bytes_each = 8 * starts[-1] + 4 * surrogate.noise_width
    group = int(np.clip(_GROUP_BYTES // bytes_each, 1, _MOST_GROUP))
    mean, a, b, least = surrogate.total_scale.tolist()
    defines = {
        "FEATURES": inputs,
        "ENTRIES": starts[-1],
        "LEVELS": len(levels),
        "ROOT": int(surrogate.pyramid.levels[0].phases[0].see[0, 0]),
        "MOST_SEEN": most_seen,
        "MOST_PADDED": max(widest, _padded(far_width)),
        "MOST_FAR": most_far,
        "MOST_TOLD": most_told,
        "FAR_WIDTH": far_width,
        "FAR_PADDED": _padded(far_width),
        "COMPONENTS": surrogate.config.components,
        "COMPONENTS_PADDED": _padded(surrogate.config.components),
        "MOST_CHOICES": max(PATTERN_LANES, surrogate.total_mixture.components),
        **totals,
        "THRESHOLD": single(surrogate.threshold),
        "SLACK": single(0.5 * surrogate.threshold),
        "PER_THRESHOLD": single(1 / surrogate.threshold),
        "PER_THRESHOLD_AND_ROUNDING": single((1 + 1e-6) / surrogate.threshold),
        "LEAST_SCALE": single(LOG_SCALE[0]),
        "MOST_SCALE": single(LOG_SCALE[1]),
        "FARTHEST": single(FAR),
        "RESPONSE_MEAN": single(mean),
        "SPREAD_A": single(a),
        "SPREAD_B": single(b),
        "SPREAD_LEAST": single(least),
    }
    source.group = group
    tables = [
        _table("phase", phases),
        _table("level", levels),
        *_patterns(),
    ]
    head, rest = DIVIDING.split("#define ROWS", 1)
    parts = [
        *(f"#define {name} {value}" for name, value in defines.items()),
        head,
        *tables,
        "#define ROWS" + rest,
        _enter(surrogate, encode, features),
    ]
    return "\n".join(parts)


def _table(kind: str, rows: Sequence[str]) -> str:
    listing = ",\n".join(rows)
    return f"static const {kind} {kind}s[{len(rows)}] = {{\n{listing}}};"


def _padded(width: int) -> int:
    return -(-width // LANES) * LANES


def _first(network: nn.Sequential) -> nn.Linear:
    layer = network[0]
    assert isinstance(layer, nn.Linear)
    return layer


def _encoded(source: Source, groups: Sequence[Group]) -> tuple[list[str], int]:
    """Statements that fill ``c`` with the encoded condition, and its width."""
    lines: list[str] = []
    at = 0
    for number, group in enumerate(groups):
        if isinstance(group, str):
            lines.append(f"c[{at}] = (float)({group});")
            at += 1
        elif isinstance(group, OneHot):
            lines.append(f"for (int k = 0; k < {group.count}; k++) c[{at} + k] = k == {group.index} ? 1.0f : 0.0f;")
            at += group.count
        else:
            count = len(group.marks) - 1
            source.doubles(f"encoded_marks_{number}", group.marks)
            marks = f"encoded_marks_{number}"
            lines.append(
                f"for (int k = 0; k < {count}; k++) {{ const double wide = {marks}[k + 1] - {marks}[k], "
                f"share = ({group.value} - {marks}[k]) / (wide > 1e-9 ? wide : 1e-9); "
                f"c[{at} + k] = (float)(share < 0.0 ? 0.0 : share > 1.0 ? 1.0 : share); }}"
            )
            at += count
    return lines, at


def _enter(surrogate: Cascade, encode: Sequence[str], features: Sequence[str]) -> str:
    """The function that starts a shower: its encoded condition, turned as it was learned."""
    codec = surrogate.codec
    mean, scale = codec.scale.mean.tolist(), codec.scale.scale.tolist()

    def kinematic(k: int) -> str:
        return f"(c[{k}] * {single(scale[k])} + {single(mean[k])})"

    lines = ["float *c = s->condition;", *encode, *features, "s->pattern = pattern;"]
    if codec.directions:
        lines.append(f"s->momentum = {kinematic(codec.directions[0][0])};")
    elif surrogate.energy_column is None:
        lines.append("s->momentum = 0.0f;")
    else:
        found = kinematic(surrogate.energy_column)
        logarithm = bool(codec.log_scale[surrogate.energy_column])
        lines.append(f"s->momentum = {found if logarithm else f'logf(fmaxf({found}, 1e-30f))'};")
    lines.append("s->turn = 0;")
    if surrogate.frame is not None:
        _, a, b, x, y = surrogate.frame
        slope, point = (single(max(scale[i], scale[j])) for i, j in ((a, b), (x, y)))
        lines += [
            f"const float a = {kinematic(a)}, b = {kinematic(b)}, x = {kinematic(x)}, y = {kinematic(y)};",
            "const float first = a < 0.0f ? -x : x, second = b < 0.0f ? -y : y;",
            "const int exchanged = fabsf(b) > fabsf(a);",
            "s->turn = (a < 0.0f) + 2 * (b < 0.0f) + 4 * exchanged;",
            f"c[{a}] = (exchanged ? fabsf(b) : fabsf(a)) / {slope};",
            f"c[{b}] = (exchanged ? fabsf(a) : fabsf(b)) / {slope};",
            f"c[{x}] = (exchanged ? second : first) / {point};",
            f"c[{y}] = (exchanged ? first : second) / {point};",
        ]
    inner = "\n    ".join(lines)
    return f"static void enter(const double *condition, const float *all, shower *s)\n{{\n    {inner}\n}}"


def _phase(source: Source, splitter: Splitter, name: str, noise: int, told: int, inside: Tensor) -> str:
    """Constants of a phase, and its row of the table."""
    width, padded = splitter.width, _padded(splitter.width)
    pad = padded - width
    blocks, sees = splitter.see.shape
    source.integers(f"{name}_see", splitter.see.reshape(-1).tolist())
    source.integers(f"{name}_parts", splitter.parts.reshape(-1).tolist())
    source.integers(f"{name}_inside", _bits(inside))
    place = "0"
    if splitter.places is not None:
        place = f"{name}_place"
        source.integers(place, splitter.places.tolist())
    # Neighbours count relative to the block itself.
    near = numpy_of(splitter.near.weight).T.copy()
    near[0] -= near[1:].sum(axis=0)
    source.floats(f"{name}_near", np.pad(near, [(0, 0), (0, pad)]).reshape(-1))
    source.floats(f"{name}_places", np.pad(numpy_of(splitter.place), [(0, 0), (0, pad)]).reshape(-1))
    inner = "0, 0"
    if splitter.inner is not None:
        source.layer(f"{name}_inner", numpy_of(splitter.inner.weight).T, splitter.inner.bias)
        inner = f"{name}_inner_w, {name}_inner_b"
    k = len(PATTERNS)
    weight, bias = numpy_of(splitter.heads.weight).T, numpy_of(splitter.heads.bias)
    blank = PATTERN_LANES - k
    source.layer(
        f"{name}_heads",
        np.concatenate([weight[:, :k], np.zeros((width, blank)), weight[:, k:]], axis=1),
        np.concatenate([bias[:k], np.zeros(blank), bias[k:]]),
    )
    source.floats(f"{name}_embed", np.pad(numpy_of(splitter.embed), [(0, 0), (0, pad)]).reshape(-1))
    _mixture(source, splitter.mixture, f"{name}_which", f"{name}_numbers", NUMBER_LANES)
    numbers = f"{blocks}, {sees}, {width}, {padded}, {splitter.slots}, {noise}, {told}"
    arrays = ", ".join(f"{name}_{part}" for part in ("see", "parts", "inside"))
    rest = ", ".join(f"{name}_{part}" for part in ("heads_w", "heads_b", "embed", "which_w", "which_b"))
    last = f"{name}_numbers_w, {name}_numbers_b"
    return f"{{{numbers}, {arrays}, {place}, {name}_near, {name}_places, {inner}, {rest}, {last}}}"


def _bits(inside: Tensor) -> list[int]:
    return [sum(int(there) << i for i, there in enumerate(row)) for row in inside.tolist()]


def _mixture(source: Source, mixture: Mixture, which: str, numbers: str, lanes: int) -> None:
    """Constants that choose a component, and those of each component: means, logarithms of widths, slopes."""
    count, each = mixture.components, mixture.each
    weight = numpy_of(mixture.out.weight).reshape(count, each, -1)
    bias = numpy_of(mixture.out.bias).reshape(count, each)
    source.layer(which, weight[:, 0].T, bias[:, 0])
    pad = lanes - (each - 1)
    rows = np.pad(weight[:, 1:].transpose(0, 2, 1), [(0, 0), (0, 0), (0, pad)])
    source.floats(f"{numbers}_w", rows.reshape(-1))
    source.floats(f"{numbers}_b", np.pad(bias[:, 1:], [(0, 0), (0, pad)]).reshape(-1))


def _tell(source: Source, name: str, layer: nn.Linear, splitters: Sequence[Splitter]) -> None:
    """The layer that tells a level's phases of the shower; each phase's part is padded and has its blocks' bias."""
    weight, bias = numpy_of(layer.weight).T, numpy_of(layer.bias)
    columns: list[FloatArray] = []
    start = 0
    for splitter in splitters:
        own = np.concatenate([weight, bias[None]])[:, start : start + splitter.width].copy()
        own[-1] += numpy_of(splitter.near.bias)
        columns.append(np.pad(own, [(0, 0), (0, _padded(splitter.width) - splitter.width)]))
        start += splitter.width
    both = np.concatenate(columns, axis=1)
    source.layer(name, both[:-1], both[-1])


def _total(source: Source, surrogate: Cascade) -> dict[str, int]:
    """Constants of the network for the total energy, and its sizes."""
    first, second = surrogate.total[0], surrogate.total[2]
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    source.layer("first", numpy_of(first.weight).T, first.bias)
    source.layer("second", numpy_of(second.weight).T, second.bias)
    mixture = surrogate.total_mixture
    _mixture(source, mixture, "totals", "total_numbers", LANES)
    return {
        "TOTAL_WIDTH": first.out_features,
        "TOTAL_PADDED": _padded(first.out_features),
        "TOTALS": mixture.components,
        "TOTALS_PADDED": _padded(mixture.components),
    }


def _patterns() -> list[str]:
    """Tables of the patterns of hits: bit i of pattern p is part i's, of number p - 1."""
    hit = PATTERNS.numpy()
    count = hit.sum(axis=1)
    first, second = hit[:, 0] | hit[:, 1], hit[:, 2] | hit[:, 3]
    free = np.stack([first & second, hit[:, 0] & hit[:, 1], hit[:, 2] & hit[:, 3]], axis=1)
    lead = np.stack([first, hit[:, 0], hit[:, 2]], axis=1) & ~free
    # By the parts on the grid and by how many thresholds there are; the last entry is padding.
    numbers, units = np.arange(1, 17), np.arange(5)
    off_grid = (numbers[None] & ~np.arange(16)[:, None]) > 0
    short = np.append(count, 99)[None] > np.maximum(units, 1)[:, None]
    possible = ~off_grid[:, None] & ~short[None]

    def rows(values: FloatArray) -> str:
        return ", ".join("{" + ", ".join(f"{int(v)}.0f" for v in row) + "}" for row in values)

    return [
        f"static const float possible[16][5][16] ALIGNED = {braces(possible.astype(np.float64), single)};",
        f"static const float free_share[15][3] = {{{rows(free)}}};",
        f"static const float lead[15][3] = {{{rows(lead)}}};",
        f"static const float hits[15] = {{{', '.join(f'{int(c)}.0f' for c in count)}}};",
    ]
