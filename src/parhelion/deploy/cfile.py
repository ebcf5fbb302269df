"""A surrogate as one C99 file that needs nothing but a C compiler.

For hosts without ONNX Runtime. The file holds weights, transforms, exact structure, the domain and its guard, the
noise, where it came from, and a golden block that it can replay (compile it with ``-DNAME_SELF_TEST`` and run it).
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from parhelion.deploy import ctext
from parhelion.deploy.ccascade import cascade_source
from parhelion.deploy.cnetworks import Group, OneHot, Ramp, Source, braces, double, network_lines, single
from parhelion.deploy.models import SurrogateModel, components, seen_values
from parhelion.deploy.trial import Trial, sure_rows
from parhelion.errors import DataError
from parhelion.files import atomic_path
from parhelion.noise import normal, normal_table, uniform
from parhelion.surrogates import Cascade, Surrogate
from parhelion.surrogates.codec import Codec
from parhelion.transforms import Affine
from parhelion.transforms.elementwise import Logit, Symlog
from parhelion.transforms.quantile import Quantile
from parhelion.transforms.voxels import Voxels

if TYPE_CHECKING:
    from parhelion.transforms.base import Transform

GOLDEN_ROWS = 8
GOLDEN_SEED = 20
# Of the response's spread: what single precision and another order of sums may change.
RELATIVE_TOLERANCE = 2e-4
_SPREAD_ROWS = 512
_TRIED_ROWS = 32768


def write_c(surrogate: Surrogate, path: str | os.PathLike[str], *, name: str | None = None) -> None:
    """Write a trained surrogate as a C99 file.

    Parameters
    ----------
    surrogate
        Trained; a student, a GAN or a cascade.
    path
        The file; replaced only when the new one is complete.
    name
        Prefix of its functions; the file's name if left out.

    Raises
    ------
    DataError
        The surrogate is not trained or of another family, or the name is no name in C.
    WriteError
        The file cannot be written.
    """
    text = c_source(surrogate, name=name or re.sub(r"\W", "_", Path(path).stem))
    with atomic_path(path) as temporary:
        temporary.write_text(text)


def c_source(surrogate: Surrogate, *, name: str) -> str:
    """The C file's text (see `write_c`)."""
    if not re.fullmatch(r"[A-Za-z]\w*", name, flags=re.ASCII):
        msg = f"{name!r} cannot start the names of C functions; use letters, digits and _, a letter first"
        raise DataError(msg)
    model = SurrogateModel(surrogate)
    surrogate = surrogate.eval()
    source = Source()
    body = _showers(source, surrogate) if isinstance(surrogate, Cascade) else _respond(source, surrogate)
    guard = _guard(source, surrogate.codec)
    golden = _golden(source, model)
    defines = [
        f"#define MOST_ROWS {source.most_rows}",
        f"#define SLOPE {single(source.slope)}",
        f"#define GOLDEN_ROWS {GOLDEN_ROWS}",
        f"#define GROUP {source.group}",
    ]
    table = f"static const double normal_table[{normal_table().shape[1]}][4] = {braces(normal_table().T, double)};"
    parts = [
        _interface(surrogate),
        ctext.HEAD,
        "\n".join(defines),
        table,
        ctext.NOISE,
        "\n".join(source.arrays),
        ctext.KERNELS,
        guard,
        body,
        golden,
        ctext.RUN,
        "#endif",
    ]
    return re.sub(r"\bNAME(?=\b|_)", name, "\n".join(parts)) + "\n"


def _interface(surrogate: Surrogate) -> str:
    schema = surrogate.schema
    model = SurrogateModel(surrogate)
    conditions = [f.name if not f.shape else f"{f.name}[{i}]" for f in schema.condition for i in range(f.width)]
    units = [f.unit for f in schema.condition for _ in range(f.width)]
    lines = [
        f"   condition {j}: {n} [{u or '1'}], {model.allowed(j)}"
        for j, (n, u) in enumerate(zip(conditions, units, strict=True))
    ]
    start = 0
    for f in schema.response:
        places = f"{start}-{start + f.width - 1}" if f.width > 1 else f"{start}"
        shape = f", shape {' x '.join(map(str, f.shape))}, the last axis fastest" if len(f.shape) > 1 else ""
        lines.append(f"   response {places}: {f.name} [{f.unit or '1'}]{shape}")
        start += f.width
    made = json.dumps({"kind": surrogate.kind, "training": surrogate.provenance}, sort_keys=True, default=str)
    listing = "\n".join(lines).replace("*/", "* /")
    return f"""/* NAME: a Parhelion surrogate in C99, without dependencies.

{listing}

   cc -std=c99 -O3 -march=native -c FILE; define NAME_DECLARATIONS before including this file to have only its
   declarations. With -D NAME_SELF_TEST it is a program that replays its golden block. */
#ifndef NAME_INTERFACE
#define NAME_INTERFACE
#include <stddef.h>
#include <stdint.h>
#define NAME_CONDITION {schema.condition_width}
#define NAME_NOISE {surrogate.noise_width}
#define NAME_RESPONSE {schema.response_width}
/* What to do with conditions outside the trained domain. */
#define NAME_REFUSE 0
#define NAME_CLAMP 1
#define NAME_FLAG 2
/* Where this surrogate came from, JSON. */
extern const char NAME_provenance[];
/* Noise of an event: the same bits as everywhere else for the same (seed, event id, stage). */
void NAME_noise(uint64_t seed, uint64_t event_id, uint32_t stage, float *noise);
/* Response of one condition and its noise, physical units. */
void NAME_respond(const double *condition, const float *noise, float *response);
/* How many numbers of a condition are outside the domain. */
int NAME_outside(const double *condition);
/* Move a condition into the range of each column; categories stay. */
void NAME_clamp(double *condition);
/* n responses. `outside` (n) and `count` may be NULL. Returns 1, with no response made, where a row is outside and the
   mode is NAME_REFUSE; 1 too where clamping cannot help. */
int NAME_generate(size_t n, const double *condition, const uint64_t *event_id, uint64_t seed, uint32_t stage, int mode,
                  float *response, unsigned char *outside, size_t *count);
/* Number of rows of the golden block that differ: 0 if all is well. */
int NAME_self_test(void);
#endif
#ifndef NAME_DECLARATIONS
const char NAME_provenance[] = {_quoted(made)};"""


def _quoted(text: str) -> str:
    """A text as C strings in short pieces; standard C knows strings up to 4095 characters, so it is cut there."""
    escaped = [
        c if 32 <= ord(c) < 127 and c not in '"\\?' else "".join(f"\\{b:03o}" for b in c.encode()) for c in text[:4000]
    ]
    return "\n".join('"' + "".join(escaped[k : k + 96]) + '"' for k in range(0, len(escaped), 96))


# --------------------------------------------------------------------- from condition to response
def _respond(source: Source, surrogate: Surrogate) -> str:
    codec = surrogate.codec
    shift = int(codec.pattern.random)
    encode, groups = _encode(source, codec)
    width = surrogate.schema.response_width
    lines = [
        "const double *condition = given;" if not shift else "const double *condition = given; const float z = all[0];",
        f"const float *noise = all + {shift};",
        f"float x[{width}];",
        "rows in;",
        *_pattern(source, codec),
        *encode,
        *network_lines(source, surrogate, groups),
        *_decode(source, codec),
    ]
    inner = "\n    ".join(lines)
    return (
        "void NAME_respond(const double *given, const float *all, float *response)\n"
        f"{{\n    {inner}\n    memcpy(response, x, sizeof x);\n}}\n"
        "static void respond_rows(int n, const double *condition, const float *noise, float *response)\n"
        "{\n    for (int i = 0; i < n; i++)\n"
        "        NAME_respond(condition + i * NAME_CONDITION, noise + i * NAME_NOISE, response + i * NAME_RESPONSE);\n}"
    )


def _showers(source: Source, surrogate: Cascade) -> str:
    """As `_respond`, for a cascade: rows in groups, which share the networks' weights."""
    codec = surrogate.codec
    shift = int(codec.pattern.random)
    encode, groups = _encode(source, codec)
    first = "const float z = all[0];" if shift else "(void)all;"
    walk = cascade_source(source, surrogate, [first, *_pattern(source, codec), *encode], groups)
    width = surrogate.schema.response_width
    decode = "\n        ".join(_decode(source, codec))
    return f"""{walk}

static void respond_rows(int n, const double *condition, const float *all, float *response)
{{
    shower showers[GROUP];
    for (int i = 0; i < n; i++) enter(condition + i * NAME_CONDITION, all + i * NAME_NOISE, showers + i);
    cascade(n, showers, all + {shift});
    for (int i = 0; i < n; i++) {{
        const shower *s = showers + i;
        const int pattern = s->pattern;
        float *x = response + i * NAME_RESPONSE;
        for (int j = 0; j < {width}; j++) x[j] = s->energy[positions[s->turn * {width} + j]];
        {decode}
    }}
}}

void NAME_respond(const double *condition, const float *noise, float *response)
{{
    respond_rows(1, condition, noise, response);
}}"""


def _pattern(source: Source, codec: Codec) -> list[str]:
    """Statements that find ``pattern``."""
    model = codec.pattern
    if model.patterns < 2:
        return ["const int pattern = 0;"]
    source.integers("tree_feature", model.feature.tolist())
    source.integers("tree_left", model.left.tolist())
    source.integers("tree_right", model.right.tolist())
    source.doubles("tree_threshold", model.threshold)
    lines = [
        "int node = 0, pattern = 0;",
        "while (tree_feature[node] >= 0)",
        "    node = condition[tree_feature[node]] < tree_threshold[node] ? tree_left[node] : tree_right[node];",
    ]
    cumulative = model.cumulative[:, :-1].cpu().numpy().astype(np.float64)
    if model.random:
        source.floats("tree_normal", _normal_thresholds(cumulative))
        test = "z >= tree_normal[node][k]"
    else:
        source.integers("tree_pattern", (cumulative <= 0.5).sum(axis=1).tolist())
        return [*lines, "pattern = tree_pattern[node];"]
    return [*lines, f"for (int k = 0; k < {model.patterns - 1}; k++) pattern += {test};"]


def _normal_thresholds(cumulative: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Smallest float32 z whose probability reaches each cumulative one, so that z >= it decides exactly as the
    probability does.
    """

    def reached(z: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        u = torch.special.ndtr(torch.as_tensor(z.astype(np.float64))).clamp(max=1.0 - 2.0**-53).numpy()
        answer: npt.NDArray[np.bool_] = u >= cumulative
        return answer

    # Bisection over all finite float32 in their order: minus 0x7F7FFFFF to plus 0x7F7FFFFF.
    low, high = np.full(cumulative.shape, -0x7F7FFFFF), np.full(cumulative.shape, 0x7F7FFFFF)
    for _ in range(33):
        middle = (low + high) >> 1
        there = reached(_float_at(middle))
        low, high = np.where(there, low, middle), np.where(there, middle, high)
    z = _float_at(high).astype(np.float64)
    return np.where(cumulative <= 0, -3e38, np.where(cumulative >= 1, 3e38, z))


def _float_at(place: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """The float32 at a place in their order, 0 at 0."""
    magnitude = np.abs(place).astype(np.uint32).view(np.float32)
    signed: npt.NDArray[np.float32] = np.where(place < 0, -magnitude, magnitude)
    return signed


def _encode(source: Source, codec: Codec) -> tuple[list[str], list[Group]]:
    """Statements that scale the condition into ``scaled``, and the groups of the encoded condition."""
    count = len(codec.continuous)
    lines = [f"double scaled[{max(count, 1)}];"]
    inside = {k: triple for triple in codec.directions for k in triple}
    for k, j in enumerate(codec.continuous):
        if k in inside:
            continue
        floor = f"condition[{j}] > 1e-30 ? condition[{j}] : 1e-30"
        lines.append(f"scaled[{k}] = log({floor});" if bool(codec.log_scale[k]) else f"scaled[{k}] = condition[{j}];")
    for triple in codec.directions:
        a, b, c = triple
        px, py, pz = (f"condition[{codec.continuous[k]}]" for k in triple)
        pz = f"fmax({pz}, 1e-30)"
        lines += [
            f"scaled[{a}] = 0.5 * log({px} * {px} + {py} * {py} + {pz} * {pz});",
            f"scaled[{b}] = {px} / {pz}; scaled[{c}] = {py} / {pz};",
        ]
    mean, scale = codec.scale.mean.tolist(), codec.scale.scale.tolist()
    groups: list[Group] = [f"(scaled[{k}] - {double(mean[k])}) / {double(scale[k])}" for k in range(count)]
    for number, (j, values) in enumerate(codec.categories):
        found = " : ".join(f"condition[{j}] == {double(float(v))} ? {i}" for i, v in enumerate(values))
        lines.append(f"const int category_{number} = {found} : -1;")
        groups.append(OneHot(f"category_{number}", len(values)))
    column = codec.ramp_column.tolist()
    ends = codec.ramp_ends.cpu().numpy()
    for k in dict.fromkeys(column):
        own = [i for i, c in enumerate(column) if c == k]
        groups.append(Ramp(f"scaled[{k}]", np.append(ends[0, own], ends[1, own[-1]])))
    if codec.pattern.patterns > 1:
        groups.append(OneHot("pattern", codec.pattern.patterns))
    return lines, groups


def _decode(source: Source, codec: Codec) -> list[str]:
    """Statements from ``x`` in network space to ``x`` in physical units, structure exact."""
    width = codec.schema.response_width
    steps: list[Transform] = list(codec.transform.steps)  # type: ignore[arg-type]
    lines = [_inverse(source, step, f"step{k}", width) for k, step in reversed(list(enumerate(steps)))]
    pattern = codec.pattern
    if not pattern.trivial or any(codec.base):
        table = pattern.table.tolist()
        for j, base in enumerate(codec.base):
            lines += [f"x[{j}] = x[{j}] + {'' if f == 1.0 else single(f) + ' * '}x[{i}];" for i, f in base]
            codes = [row[j] for row in table]
            if any(c != -1 for c in codes):
                source.integers(f"code_{j}", codes)
            for c in sorted(set(codes) - {-1}):
                exact = f"x[{c}]" if c >= 0 else single(float(pattern.atoms[j, -2 - c]))
                lines.append(f"if (code_{j}[pattern] == {c}) x[{j}] = {exact};")
    elif pattern.patterns < 2:
        lines.append("(void)pattern;")
    if codec.config.threshold is not None:
        cut = single(codec.config.threshold)
        lines.append(f"for (int j = 0; j < {width}; j++) if (!(x[j] >= {cut})) x[j] = 0.0f;")
    return lines


def _inverse(source: Source, step: Transform, name: str, width: int) -> str:
    each = f"for (int j = 0; j < {width}; j++) "
    if isinstance(step, Quantile):
        source.floats(f"{name}_from", step.y_knots)
        source.floats(f"{name}_to", step.x_knots)
        for bound, values in zip(("lowest", "highest"), step.ends, strict=True):
            source.floats(f"{name}_{bound}", values)
        bounds = f"{name}_lowest[j], {name}_highest[j]"
        return each + f"x[j] = interpolate(x[j], {name}_from[j], {name}_to[j], {step.knots}, {bounds});"
    if isinstance(step, Affine):
        source.floats(f"{name}_mean", step.mean)
        source.floats(f"{name}_scale", step.scale)
        return each + f"x[j] = x[j] * {name}_scale[j] + {name}_mean[j];"
    if isinstance(step, Symlog):
        return each + f"x[j] = copysignf(expm1f(fabsf(x[j])) * {single(step.linear)}, x[j]);"
    if isinstance(step, Logit):
        low, high = single(step.low), single(step.high)
        return each + f"x[j] = fminf(fmaxf(1.0f / (1.0f + expf(-x[j])) * ({high} - {low}) + {low}, {low}), {high});"
    if isinstance(step, Voxels):
        return each + f"x[j] = {single(step.linear)} * expm1f(fmaxf(x[j], 0.0f) * {single(step.scale)});"
    msg = f"C export: it knows no transform {step.kind}"
    raise DataError(msg)


# --------------------------------------------------------------------- domain and golden block
def _guard(source: Source, codec: Codec) -> str:
    categories = dict(codec.categories)
    low, high = codec.low.tolist(), codec.high.tolist()
    outside, clamp = [], []
    start = 0
    for j in range(len(low)):
        if j in categories:
            seen = codec.seen[start : start + len(categories[j])].tolist()
            known = [f"c[{j}] == {double(float(v))}" for v, there in zip(categories[j], seen, strict=True) if there]
            start += len(categories[j])
            outside.append(f"odd[{j}] = !({' || '.join(known) or '0'});")
            continue
        a, b = double(low[j]), double(high[j])
        outside.append(f"odd[{j}] = !(c[{j}] >= {a} && c[{j}] <= {b});")
        clamp.append(f"if (c[{j}] < {a}) c[{j}] = {a}; else if (c[{j}] > {b}) c[{j}] = {b};")
    for number, triple in enumerate(codec.directions):
        px, py, pz = (f"c[{codec.continuous[k]}]" for k in triple)
        pz = f"fmax({pz}, 1e-30)"
        values = (f"0.5 * log({px} * {px} + {py} * {py} + {pz} * {pz})", f"{px} / {pz}", f"{py} / {pz}")
        for i, (k, value) in enumerate(zip(triple, values, strict=True)):
            a, b = codec.direction_ends[:, 3 * number + i].tolist()
            slack = 1e-9 * (b - a)
            outside.append(
                f"{{ const double v = {value}; "
                f"odd[{codec.continuous[k]}] |= !(v >= {double(a - slack)} && v <= {double(b + slack)}); }}"
            )
    inner, moved = "\n    ".join(outside), "\n    ".join(clamp) or "(void)c;"
    return f"""int NAME_outside(const double *c)
{{
    int odd[NAME_CONDITION], total = 0;
    {inner}
    for (int j = 0; j < NAME_CONDITION; j++) total += odd[j];
    return total;
}}

void NAME_clamp(double *c)
{{
    {moved}
}}
"""


def _golden(source: Source, model: SurrogateModel) -> str:
    ids, condition = _inside(model)
    noise = normal(GOLDEN_SEED, ids, model.noise_width)
    response = model.respond(condition, noise)
    size = np.maximum(response.std(axis=0), 1e-3 * np.abs(response).max(axis=0))
    n = GOLDEN_ROWS
    tried = slice(0, 8 * n)
    condition, noise, response = condition[tried], noise[tried], response[tried]
    if isinstance(model.surrogate, Cascade):
        # Rounding grows from level to level; a package's tolerance.
        tolerance = Trial.RELATIVE * (size + np.abs(response))
    else:
        tolerance = np.broadcast_to(RELATIVE_TOLERANCE * size, response.shape)
    tolerance = tolerance + 1e-30
    sure = sure_rows(model, condition, noise, response, 0.5 * tolerance)
    kept = np.concatenate([np.flatnonzero(sure), np.flatnonzero(~sure)])[:n]
    golden = Source()
    golden.doubles("golden_condition", condition[kept])
    for name, values in (("noise", noise[kept]), ("response", response[kept]), ("tolerance", tolerance[kept])):
        golden.floats(f"golden_{name}", np.asarray(values, dtype=np.float64))
    events = ", ".join(str(i) for i in ids[kept])
    return "\n".join(
        [
            *golden.arrays,
            f"static const uint64_t golden_seed = {GOLDEN_SEED}, golden_event[{n}] = {{{events}}};",
        ]
    )


def _inside(model: SurrogateModel) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Event ids (n,) and conditions (n, c) spread over the domain."""
    codec = model.surrogate.codec
    low, high = codec.low.cpu().numpy(), codec.high.cpu().numpy()
    ids = np.arange(_TRIED_ROWS if codec.directions else _SPREAD_ROWS, dtype=np.int64)
    shares = uniform(GOLDEN_SEED, ids, len(low), stage=1)
    condition = low + shares * (high - low)
    for j, field in enumerate(components(model.schema)):
        if field.kind == "category":
            known = np.asarray(seen_values(model.surrogate, j))
            condition[:, j] = known[(shares[:, j] * len(known)).astype(int)]
        elif field.kind == "integer":
            condition[:, j] = np.floor(condition[:, j])
    # The components of a momentum may each be in range and their magnitude not.
    kept = np.flatnonzero(~model.outside(condition).any(axis=1))[:_SPREAD_ROWS]
    if len(kept) < GOLDEN_ROWS:
        kept = ids[:_SPREAD_ROWS]
    return ids[kept], condition[kept]
