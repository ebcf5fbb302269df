"""From a trained surrogate to a package: one ONNX file that carries the evidence for itself."""

from __future__ import annotations

import io
import math
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from parhelion.deploy import manifest as _manifest
from parhelion.deploy.graph import PackageGraph
from parhelion.deploy.models import SurrogateModel, components
from parhelion.deploy.plain import PlainFunctions
from parhelion.deploy.runtime import Package, table_checksum
from parhelion.deploy.trial import GOLDEN_SEED, Trial, conditions_to_try, edge_conditions, golden_block, try_package
from parhelion.errors import DataError
from parhelion.files import atomic_path
from parhelion.provenance import versions
from parhelion.surrogates import Student, Surrogate

OPSET = 17
# Operators of the default domain that run code by what the data say, call functions, or are random.
_NOT_PLAIN = {
    "If", "Loop", "Scan", "SequenceMap", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike",
    "Multinomial", "Bernoulli",
}  # fmt: skip
_TRACED_ROWS = 3


@dataclass(frozen=True)
class Origin:
    """What a package says of where its surrogate comes from.

    Attributes
    ----------
    name
        Name of the package.
    verdict
        Verdict of the study on this surrogate, as plain data.
    data
        SHA-256 of the rows of each part of its sample.
    licence, author
        Of the surrogate.
    """

    name: str = "surrogate"
    verdict: Mapping[str, Any] | None = None
    data: Mapping[str, str] = field(default_factory=dict)
    licence: str | None = None
    author: str | None = None


def export(
    surrogate: Surrogate,
    path: str | os.PathLike[str],
    *,
    origin: Origin | None = None,
    rows: int = 100_000,
    seed: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Trial:
    """Write a surrogate as a package, after its graph has shown that it answers as the surrogate does.

    Parameters
    ----------
    surrogate
        Trained surrogate of any family.
    path
        The file; it appears only when all tests are passed.
    origin
        Name, verdict, fingerprints, licence and author.
    rows
        Random conditions to compare at, besides those at the edges of the domain and of thresholds.
    seed
        Seed of these conditions and their noise.
    progress
        Called with (rows compared, all rows).

    Returns
    -------
    Trial
        What the comparison found; the package holds it too.

    Raises
    ------
    DataError
        The surrogate is not trained, its graph would need operators that are not plain, or it answers otherwise.
    WriteError
        The file cannot be written.
    """
    origin = origin or Origin()
    model = SurrogateModel(surrogate)
    graph = trace(surrogate)
    operators = require_plain(graph, surrogate.kind)
    condition = conditions_to_try(surrogate, rows, seed)
    scale = _scale(model, condition[: min(len(condition), 4096)])
    golden = golden_block(model, edge_conditions(surrogate), condition, scale)
    made = {
        "format": "parhelion-package",
        "version": _manifest.VERSION,
        "name": origin.name,
        "kind": surrogate.kind,
        "form": "student" if isinstance(surrogate, Student) else "exact",
        "made_with": {**versions(), "onnx": onnx.__version__},
        "condition": _manifest.fields_to_list(surrogate.schema.condition),
        "response": _manifest.fields_to_list(surrogate.schema.response),
        "domain": _domain(model),
        "noise": {
            "generator": "philox4x32-10",
            "width": surrogate.noise_width,
            "key": ["seed mod 2^32", "seed div 2^32"],
            "counter": ["event id mod 2^32", "event id div 2^32", "stage", "block of four numbers"],
            "map": "normal-table",
            "table_sha256": table_checksum(),
        },
        "graph": {
            "opset": OPSET,
            "inputs": ["noise", "condition"],
            "outputs": ["response"],
            "operators": operators,
            "row_numbers": widest(graph),
        },
        "tolerance": {
            "relative": Trial.RELATIVE,
            "scale": [float(s) for s in scale],
            "rows_beyond": Trial.ROWS_BEYOND,
        },
        "verification": {},
        "training": dict(surrogate.provenance),
        "data": dict(origin.data),
        "verdict": None if origin.verdict is None else dict(origin.verdict),
        "licence": origin.licence,
        "author": origin.author,
    }
    with atomic_path(path) as temporary:
        temporary.write_bytes(_pack(graph, made, golden))
        package = Package.load(temporary)
        trial = try_package(package, model, condition, edge_conditions(surrogate), seed=seed, progress=progress)
        trial.require(f"{Path(path).name}: the exported graph of this {surrogate.kind} surrogate", surrogate.undecided)
        made["verification"] = trial.to_dict()
        temporary.write_bytes(_pack(graph, made, golden))
        Package.load(temporary).verify()
    return trial


def trace(surrogate: Surrogate) -> onnx.ModelProto:
    """Graph from (noise, condition) to response with a free number of rows.

    Raises
    ------
    DataError
        An operation of the family's network cannot be traced.
    """
    graph = PackageGraph(surrogate).eval()
    condition = torch.as_tensor(edge_conditions(surrogate)[:1]).repeat(_TRACED_ROWS, 1)
    noise = torch.linspace(-1.0, 1.0, _TRACED_ROWS * surrogate.noise_width).reshape(_TRACED_ROWS, -1)
    stream = io.BytesIO()
    free = {name: {0: "rows"} for name in ("noise", "condition", "response")}
    try:
        with warnings.catch_warnings(), torch.no_grad(), PlainFunctions():
            # The tracer warns of itself and of sizes that are constant on purpose.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                graph, (noise, condition), stream,  # type: ignore[arg-type]
                input_names=["noise", "condition"], output_names=["response"],
                dynamic_axes=free, opset_version=OPSET, dynamo=False, training=torch.onnx.TrainingMode.EVAL,
            )  # fmt: skip
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        reason = str(error).strip().splitlines()[0]
        msg = f"this {surrogate.kind} surrogate cannot be exported: {reason}"
        raise DataError(msg) from error
    made = onnx.load_model_from_string(stream.getvalue())
    made.producer_name, made.producer_version = "parhelion", versions().get("parhelion", "")
    onnx.checker.check_model(made)
    return made


def require_plain(graph: onnx.ModelProto, kind: str) -> list[str]:
    """Names of a graph's operators.

    Raises
    ------
    DataError
        One of them is random, custom, or steers the flow of control.
    """
    domains = {node.domain for node in graph.graph.node} - {"", "ai.onnx"}
    found = {node.op_type for node in graph.graph.node}
    if domains or found & _NOT_PLAIN or graph.functions:
        odd = ", ".join(sorted(domains | (found & _NOT_PLAIN) | {f.name for f in graph.functions}))
        msg = (
            f"this {kind} surrogate cannot be exported: its graph needs {odd}, and packages hold plain operators alone"
        )
        raise DataError(msg)
    return sorted(found)


def widest(graph: onnx.ModelProto) -> int:
    """Numbers a row in the widest result of a graph, as far as its shapes are known."""
    inferred = onnx.shape_inference.infer_shapes(graph).graph
    shapes = [[d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*inferred.value_info, *inferred.output)]
    # The first size is the number of rows, and sizes that follow from it are unknown too.
    return max((math.prod(size or 1 for size in shape[1:]) for shape in shapes), default=1)


def _pack(graph: onnx.ModelProto, made: Mapping[str, Any], golden: _manifest.Golden) -> bytes:
    plain: dict[str, Any] = _finite(made)
    _manifest.check(plain)
    model = onnx.ModelProto()
    model.CopyFrom(graph)
    texts = {
        _manifest.MANIFEST_KEY: _manifest.dump(plain),
        _manifest.GOLDEN_KEY: golden.encode(),
        _manifest.CHECKSUM_KEY: _manifest.empty_checksum(),
    }
    for key, value in texts.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    return _manifest.seal(model.SerializeToString(deterministic=True))


def _finite(value: Any) -> Any:
    """Plain data without NaN and infinities, which JSON does not have."""
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def _scale(model: SurrogateModel, condition: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Unit of each number of the response: its spread, or what stands for one where it has none."""
    noise = model.noise(GOLDEN_SEED, np.arange(len(condition)))
    response = model.respond(condition, noise).astype(np.float64)
    odd = int(np.sum(~np.isfinite(response).all(axis=1)))
    if odd:
        msg = (
            f"this {model.surrogate.kind} surrogate cannot be exported: its answers to {odd} of {len(condition)} "
            "conditions in its domain have NaN or infinity; train it again, for less long or more gently"
        )
        raise DataError(msg)
    spread = response.std(axis=0)
    typical = float(spread[spread > 0].mean()) if (spread > 0).any() else 1.0
    scale: np.ndarray[Any, np.dtype[np.float64]] = np.maximum(spread, 1e-3 * typical)
    return scale


def _domain(model: SurrogateModel) -> dict[str, Any]:
    from parhelion.deploy.models import seen_values

    codec = model.surrogate.codec
    low, high = codec.low.tolist(), codec.high.tolist()
    columns: list[dict[str, Any]] = [
        {"values": seen_values(model.surrogate, j)} if f.kind == "category" else {"low": low[j], "high": high[j]}
        for j, f in enumerate(components(model.schema))
    ]
    momenta = []
    for i, triple in enumerate(codec.directions):
        ends = codec.direction_ends[:, 3 * i : 3 * i + 3].tolist()
        momenta.append({"columns": [codec.continuous[k] for k in triple], "low": ends[0], "high": ends[1]})
    return {"columns": columns, "momenta": momenta}
