"""What a file holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parhelion import io
from parhelion.deploy.models import components, seen_values
from parhelion.deploy.runtime import Package
from parhelion.surrogates import load


@dataclass(frozen=True)
class Description:
    """What a file holds, as plain data and as text."""

    data: dict[str, Any]
    text: str


def describe_file(path: Path, tree: str | None = None) -> Description:
    """Describe a sample file, a surrogate file or a package.

    Raises
    ------
    DataError
        It is none of them, or it is damaged.
    """
    if path.suffix == ".onnx":
        return _package(path)
    return _surrogate(path) if path.suffix == ".safetensors" else _sample(path, tree)


def _surrogate(path: Path) -> Description:
    model = load(path)
    codec = model.codec
    low, high = codec.low.tolist(), codec.high.tolist()
    categories = {j: seen_values(model, j) for j, _ in codec.categories}
    conditions = [f for f in model.schema.condition for _ in range(f.width)]
    domain = {f.name: categories[j] if j in categories else [low[j], high[j]] for j, f in enumerate(conditions)}
    data = {
        "kind": model.kind,
        "condition": [f.title for f in model.schema.condition],
        "response": [f.title for f in model.schema.response],
        "noise_width": model.noise_width,
        "parameters": sum(p.numel() for p in model.parameters()),
        "domain": domain,
        "config": model.config.model_dump(mode="json"),
        "provenance": model.provenance,
    }
    lines = [f"{path}: {model.kind} surrogate, {data['parameters']:,} parameters, noise width {model.noise_width}"]
    lines.append("domain of the conditions:")
    for j, f in enumerate(conditions):
        if j in categories:
            lines.append(f"  {f.title:20s} {', '.join(f'{f.label_of(v)} ({v:g})' for v in categories[j])}")
        else:
            lines.append(f"  {f.title:20s} {low[j]:g} to {high[j]:g}")
    lines.append(f"response: {', '.join(f.title for f in model.schema.response)}")
    lines += [f"{key}: {value}" for key, value in model.provenance.items()]
    return Description(data, "\n".join(lines))


def _package(path: Path) -> Description:
    package = Package.load(path)
    manifest = package.manifest
    lines = [
        f"{path}: package {manifest['name']}, {manifest['kind']} surrogate ({manifest['form']} form), "
        f"noise width {package.noise_width}, opset {manifest['graph']['opset']}",
        "domain of the conditions:",
    ]
    lines += [f"  {f.title:20s} {package.allowed(j)}" for j, f in enumerate(components(package.schema))]
    lines.append(f"response: {', '.join(f.title for f in package.schema.response)}")
    verdict = manifest["verdict"]
    lines.append(f"verdict: {'none' if verdict is None else verdict['status']}")
    lines += [f"  {outcome['sentence']}" for outcome in (verdict or {}).get("outcomes", [])]
    trial = manifest["verification"]
    lines.append(
        f"verification: {trial['rows'] + trial['edge_rows']:,} rows, largest difference {trial['largest']:.1g} of the "
        f"spread, {trial['beyond']:.2g} of the rows beyond {manifest['tolerance']['relative']:g}"
    )
    lines += [f"{key}: {manifest[key] or 'not stated'}" for key in ("licence", "author")]
    lines += [f"{key}: {value}" for key, value in manifest["training"].items()]
    lines += [f"rows of {key}: {value}" for key, value in manifest["data"].items()]
    return Description({**manifest, "checksum": package.checksum}, "\n".join([*lines, f"checksum: {package.checksum}"]))


def _sample(path: Path, tree: str | None) -> Description:
    infos = io.columns(path, tree=tree)
    layout = io.stored_layout(path, tree=tree)
    roles: dict[str, str] = {}
    data: dict[str, Any] = {"columns": []}
    lines: list[str] = []
    rows = infos[0].rows if infos else 0
    if layout is not None:
        for role in ("condition", "response", "extra"):
            roles |= {s.columns[0]: role for s in getattr(layout, role)}
        roles |= dict.fromkeys(layout.group, "group") | dict.fromkeys(layout.event_id, "event id")
        if layout.weight is not None:
            roles[layout.weight] = "weight"
        total, squares, negative = 0.0, 0.0, 0
        for chunk in io.iterate(path, tree=tree):
            total += float(chunk.weight.sum())
            squares += float((chunk.weight**2).sum())
            negative += int((chunk.weight < 0).sum())
        effective = total * total / squares if squares > 0 else 0.0
        data["weights"] = {"sum": total, "effective": effective, "negative_share": negative / max(rows, 1)}
        lines.append(
            f"sum of weights {total:,.1f}, effective sample size {effective:,.0f}, "
            f"{100 * negative / max(rows, 1):.1f} % negative weights"
        )
        data["provenance"] = io.provenance(path, tree=tree)
        lines.append(f"provenance: {data['provenance']}")
    table = [f"{path}: {rows:,} rows"]
    for info in infos:
        shape = str(tuple(info.shape)) if info.shape else ""
        unit = f"[{info.unit}]" if info.unit else ""
        table.append(f"  {info.name:24s} {str(info.dtype) + shape:14s} {unit:8s} {roles.get(info.name, '')}".rstrip())
        entry = {"name": info.name, "type": str(info.dtype), "shape": list(info.shape or ()), "unit": info.unit}
        data["columns"].append({**entry, "role": roles.get(info.name)})
    data["rows"] = rows
    return Description(data, "\n".join(table + lines))
