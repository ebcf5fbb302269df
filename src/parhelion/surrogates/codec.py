"""The codec: between physical units and network space, for condition and response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from parhelion.errors import ConfigError, DataError
from parhelion.io.energies import require_not_negative
from parhelion.sample import Field as SampleField
from parhelion.sample import Sample, Schema
from parhelion.surrogates.structure import FREE, Candidates, PatternModel, find_candidates
from parhelion.transforms import Affine, Chain

FloatArray = npt.NDArray[np.float64]

_WIDEST_STRUCTURE = 64


class StructureConfig(BaseModel):
    """Discrete structure to look for; it is exact in what the surrogate gives.

    Attributes
    ----------
    ties
        Look for response components that are exactly equal in some rows.
    atoms
        Look for values taken exactly with a finite probability (all-zero rows).
    differences
        ``{a: b}``: learn a - b instead of a. Ties near a threshold are then small numbers, not small differences
        of large ones. ``{a: {b: 0.4, c: 1}}``: learn a - 0.4 b - c, for responses in a nearly fixed proportion.
    thresholds
        ``{condition: [values]}`` in the condition's unit: known thresholds, where the pattern changes exactly.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    ties: bool = True
    atoms: bool = True
    differences: dict[str, str | dict[str, float]] = Field(default_factory=dict)
    thresholds: dict[str, list[float]] = Field(default_factory=dict)


class CodecConfig(BaseModel):
    """How a surrogate sees its sample.

    Attributes
    ----------
    condition
        Scale of each continuous condition: ``log``, ``linear``, or ``auto`` (log where positive and spanning more
        than a factor 10).
    knots
        Each continuous condition is also given to the network as so many ramps between its quantiles (a
        piecewise-linear encoding, Gorishniy et al., arXiv:2203.05556, section 3.2), so that it can follow sharp
        features. Known thresholds become ends of ramps.
    directions
        Triples of conditions that are the components of a momentum, ``[px, py, pz]`` with pz > 0. The network sees the
        logarithm of its magnitude and the slopes px / pz and py / pz instead, and its domain is that of these.
    response
        Transforms of the response, in order; none: the network works in physical units.
    threshold
        For responses that are energies of cells: values below it are exactly 0, in what is learned from and in what
        is generated. None: responses are any numbers.
    structure
        Discrete structure.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    condition: dict[str, Literal["auto", "log", "linear"]] = Field(default_factory=dict)
    knots: int = Field(16, ge=0, le=256)
    directions: list[tuple[str, str, str]] = Field(default_factory=list)
    response: list[str | dict[str, Any]] = ["quantile"]
    threshold: float | None = Field(None, gt=0, allow_inf_nan=False)
    structure: StructureConfig = Field(default_factory=StructureConfig)


class Codec(nn.Module):
    """Maps conditions and responses between physical units and network space.

    Network space of the condition: scaled continuous columns, one-hot categories, ramps between quantiles and known
    thresholds, the one-hot pattern. Network space of the response: differences, transforms; entries that the
    pattern determines are 0 and marked inactive.
    """

    log_scale: Tensor
    low: Tensor
    high: Tensor
    seen: Tensor
    ramp_column: Tensor
    ramp_ends: Tensor
    direction_ends: Tensor

    def __init__(self, schema: Schema, config: CodecConfig, *, pattern_sizes: Mapping[str, int] | None = None) -> None:
        super().__init__()
        self.schema, self.config = schema, config
        width = schema.response_width
        names = _component_names(schema.response)
        conditions = _component_names(schema.condition)
        related = [n for a, base in config.structure.differences.items() for n in (a, *_bases(base))]
        for where, known, given in (
            ("differences", names, related),
            ("thresholds", conditions, list(config.structure.thresholds)),
            ("condition", conditions, list(config.condition)),
            ("directions", conditions, [name for triple in config.directions for name in triple]),
        ):
            unknown = [n for n in given if n not in known]
            if unknown:
                msg = f"surrogate codec, {where}: {unknown[0]} is no such field; there are {', '.join(known)}"
                raise ConfigError(msg)
        self.base = _difference_bases(names, config.structure.differences)
        self.continuous = [j for j, f in enumerate(_components(schema.condition)) if f.kind != "category"]
        self.categories = [(j, f.values) for j, f in enumerate(_components(schema.condition)) if f.kind == "category"]
        self.known = [
            (conditions.index(name), float(t)) for name, ts in config.structure.thresholds.items() for t in ts
        ]
        self.directions = [
            [self.continuous.index(conditions.index(name)) for name in triple] for triple in config.directions
        ]
        self.pattern = PatternModel.of_sizes(pattern_sizes) if pattern_sizes else PatternModel(width)
        self.scale = Affine(len(self.continuous))
        self.transform = Chain(width, steps=config.response)
        self.register_buffer("log_scale", torch.zeros(len(self.continuous), dtype=torch.bool))
        self.register_buffer("low", torch.zeros(schema.condition_width, dtype=torch.float64))
        self.register_buffer("high", torch.zeros(schema.condition_width, dtype=torch.float64))
        ramps = [
            k
            for k, j in enumerate(self.continuous)
            for _ in range(config.knots + sum(column == j for column, _ in self.known))
        ]
        self.register_buffer("ramp_column", torch.tensor(ramps, dtype=torch.long))
        self.register_buffer("ramp_ends", torch.zeros(2, len(ramps), dtype=torch.float64))
        if self.directions:
            self.register_buffer("direction_ends", torch.zeros(2, 3 * len(self.directions), dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(sum(len(v) for _, v in self.categories), dtype=torch.bool))

    def fit(self, sample: Sample, *, seed: int = 0) -> None:
        """Learn scales, quantiles, structure and domain from a training sample with signed weights."""
        condition, response, weight = sample.condition, sample.response, sample.weight
        # Which scales are logarithmic is found below, whatever an earlier sample had.
        self.log_scale = torch.zeros_like(self.log_scale)
        self.fit_domain(sample)
        names = _component_names(self.schema.condition)
        inside = {k for triple in self.directions for k in triple}
        for k, j in enumerate(self.continuous):
            if k in inside:
                continue
            x = condition[:, j]
            wish = self.config.condition.get(names[j], "auto")
            positive = bool(x.min() > 0)
            if wish == "log" and not positive:
                row = int(np.argmin(x))
                msg = f"{sample.source}: condition {names[j]}, row {row}: {x[row]:g} has no logarithm, choose linear"
                raise ConfigError(msg)
            self.log_scale[k] = wish == "log" or (wish == "auto" and positive and bool(x.max() > 10 * x.min()))
        with torch.no_grad():
            scaled = self.scaled(torch.as_tensor(condition)).numpy()
        self.scale.fit(scaled, weight)
        self._place_ramps(condition)
        structure = self.config.structure
        if self.schema.response_width <= _WIDEST_STRUCTURE:
            candidates = find_candidates(response, ties=structure.ties, atoms=structure.atoms)
        else:
            candidates = Candidates(ties=(), atoms=((),) * self.schema.response_width)
        thresholds: dict[int, list[float]] = {}
        for j, t in self.known:
            thresholds.setdefault(j, []).append(t)
        if candidates.ties or any(candidates.atoms):
            self.pattern = PatternModel.fit(condition, response, weight, candidates, thresholds=thresholds, seed=seed)
        else:
            self.pattern = PatternModel(self.schema.response_width)
        pattern = self.pattern.code(torch.as_tensor(response))
        active = self.pattern.active(pattern).numpy()
        kept = self.above_threshold(torch.as_tensor(response))
        self.transform.fit(self._difference(kept).numpy(), weight, active)

    def fit_domain(self, sample: Sample) -> None:
        """Learn from a sample the domain alone: ranges, categories that occur, magnitudes and slopes of momenta.

        Raises
        ------
        DataError
            A condition has a value that cannot be encoded, or cells are not energies.
        """
        condition = sample.condition
        self.low = torch.as_tensor(condition.min(axis=0))
        self.high = torch.as_tensor(condition.max(axis=0))
        seen = [bool((condition[:, j] == v).any()) for j, values in self.categories for v in values]
        self.seen = torch.tensor(seen, dtype=torch.bool)
        names = _component_names(self.schema.condition)
        self._refuse_odd_cells(sample)
        above = [(self.continuous[triple[2]], "directions need it above 0") for triple in self.directions]
        above += [(j, "its logarithm is learned") for k, j in enumerate(self.continuous) if self.log_scale[k]]
        for j, why in above:
            if not condition[:, j].min() > 0:
                row = int(np.argmin(condition[:, j]))
                msg = f"{sample.source}: condition {names[j]}, row {row}: {condition[row, j]:g}, but {why}"
                raise DataError(msg)
        if self.directions:
            with torch.no_grad():
                scaled = self.scaled(torch.as_tensor(condition)).numpy()
            triples = scaled[:, [k for triple in self.directions for k in triple]]
            self.direction_ends = torch.as_tensor(np.stack([triples.min(axis=0), triples.max(axis=0)]))

    def _refuse_odd_cells(self, sample: Sample) -> None:
        threshold = self.config.threshold
        if threshold is None:
            return
        for field in self.schema.response:
            require_not_negative(sample, field.name)
            if not sample[field.name].max() >= threshold:
                msg = f"{sample.source}: {field.name}: no cell reaches the threshold of {threshold:g} {field.unit}"
                raise DataError(msg)

    def above_threshold(self, response: Tensor) -> Tensor:
        """Responses (n, d) with cells below the threshold, if there is one, at 0."""
        threshold = self.config.threshold
        if threshold is None:
            return response
        return torch.where(response >= threshold, response, torch.zeros_like(response))

    @torch.no_grad()
    def _place_ramps(self, condition: FloatArray) -> None:
        scaled = self.scaled(torch.as_tensor(condition)).numpy()
        ends: list[FloatArray] = []
        for k, j in enumerate(self.continuous):
            marks = np.quantile(scaled[:, k], np.linspace(0.0, 1.0, self.config.knots + 1))
            known = np.array([t for column, t in self.known if column == j])
            if len(known):
                row = torch.as_tensor(np.repeat(condition[:1], len(known), axis=0))
                row[:, j] = torch.as_tensor(known)
                marks = np.concatenate([marks, self.scaled(row)[:, k].numpy()])
            marks = np.sort(marks)
            ends.append(np.stack([marks[:-1], marks[1:]]))
        if ends:
            self.ramp_ends = torch.as_tensor(np.concatenate(ends, axis=1))

    def _ramps(self, scaled: Tensor) -> Tensor:
        low, high = self.ramp_ends[0], self.ramp_ends[1]
        # Where quantiles of a count coincide, a ramp is a step.
        return ((scaled[:, self.ramp_column] - low) / (high - low).clamp(min=1e-9)).clamp(0.0, 1.0)

    @property
    def features(self) -> int:
        """Width of an encoded condition."""
        one_hot = sum(len(v) for _, v in self.categories)
        patterns = self.pattern.patterns if self.pattern.patterns > 1 else 0
        return len(self.continuous) + one_hot + len(self.ramp_column) + patterns

    def scaled(self, condition: Tensor) -> Tensor:
        """Continuous conditions before standardisation, (n, continuous), float64, of conditions (n, c)."""
        x = condition[:, self.continuous].to(torch.float64)
        if self.directions:
            columns = list(x.unbind(dim=1))
            for a, b, c in self.directions:
                px, py, pz = x[:, a], x[:, b], x[:, c].clamp(min=1e-30)
                columns[a], columns[b], columns[c] = 0.5 * torch.log(px**2 + py**2 + pz**2), px / pz, py / pz
            x = torch.stack(columns, dim=1)
        # The floor only keeps a logarithm of a condition outside the domain finite until the guard speaks.
        return torch.where(self.log_scale, torch.log(x.clamp(min=1e-30)), x)

    def encode_condition(self, condition: Tensor, pattern: Tensor) -> Tensor:
        """Network input, shape (n, features), float32, of conditions (n, c) and pattern numbers (n,)."""
        scaled = self.scaled(condition)
        parts = [self.scale(scaled).to(torch.float32)]
        for j, values in self.categories:
            codes = torch.tensor(values, dtype=condition.dtype, device=condition.device)
            parts.append((condition[:, j : j + 1] == codes).to(torch.float32))
        if len(self.ramp_column):
            parts.append(self._ramps(scaled).to(torch.float32))
        if self.pattern.patterns > 1:
            one_hot = torch.nn.functional.one_hot(pattern, self.pattern.patterns)
            parts.append(one_hot.to(torch.float32))
        return torch.cat(parts, dim=1)

    def active_entries(self, encoded: Tensor) -> Tensor:
        """Which response entries are free, shape (n, d), bool, given encoded conditions (n, features)."""
        free = self.pattern.table == FREE
        if self.pattern.trivial:
            return free.expand(encoded.shape[0], -1)
        return encoded[:, -self.pattern.patterns :] @ free.to(encoded.dtype) > 0.5

    def kinematics(self, encoded: Tensor) -> Tensor:
        """Continuous conditions before standardisation, (n, continuous), of encoded ones (n, features).

        Logarithms where the scale is one; log magnitude and slopes in place of a momentum's components.
        """
        return self.scale.inverse(encoded[:, : len(self.continuous)])

    def split_condition(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised continuous part, and one-hot categories and pattern, of encoded conditions (n, features)."""
        a = len(self.continuous)
        b = a + sum(len(v) for _, v in self.categories)
        return encoded[:, :a], torch.cat([encoded[:, a:b], encoded[:, b + len(self.ramp_column) :]], dim=1)

    def encode_response(self, response: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Network space (n, d) float32, active entries (n, d) bool, pattern numbers (n,) of responses (n, d)."""
        pattern = self.pattern.code(response)
        active = self.pattern.active(pattern)
        response = self.above_threshold(response)
        x = self.transform(self._difference(response).to(torch.float32))
        return torch.where(active, x, torch.zeros_like(x)), active, pattern

    def decode_response(self, x: Tensor, pattern: Tensor) -> Tensor:
        """Responses (n, d) in physical units from network space (n, d) and pattern numbers (n,): exact structure."""
        y = self.transform.inverse(x)
        if self.pattern.trivial and not any(self.base):
            return self.above_threshold(y)
        columns: list[Tensor] = []
        table = self.pattern.table
        for j in range(y.shape[1]):
            value = _plus(y[:, j], self.base[j], columns)
            code = table[:, j][pattern]
            for i in sorted({int(c) for c in table[:, j].tolist() if c != -1}):
                exact = columns[i] if i >= 0 else self.pattern.atoms[j, -2 - i].to(y.dtype).expand_as(value)
                value = torch.where(code == i, exact, value)
            columns.append(value)
        return self.above_threshold(torch.stack(columns, dim=1))

    def log_det(self, response: Tensor) -> Tensor:
        """Log |d network / d physical| over the active entries, shape (n,)."""
        active = self.pattern.active(self.pattern.code(response))
        terms = self.transform.log_det(self._difference(response).to(torch.float32))
        return torch.where(active, terms, torch.zeros_like(terms)).sum(dim=1)

    def outside(self, condition: Tensor) -> Tensor:
        """Which conditions (n, c) lie outside the trained domain, shape (n, c), bool.

        The domain of a column is its range in the training sample; that of a category the values that occurred there.
        Of a momentum, magnitude and slopes must be in their ranges too.
        """
        # Written so that NaN is outside.
        beyond = ~((condition >= self.low) & (condition <= self.high))
        start = 0
        for j, values in self.categories:
            codes = torch.tensor(values, dtype=condition.dtype, device=condition.device)
            known = codes[self.seen[start : start + len(values)]]
            beyond[:, j] = ~(condition[:, j : j + 1] == known).any(dim=1)
            start += len(values)
        if self.directions:
            inner = [k for triple in self.directions for k in triple]
            scaled = self.scaled(condition)[:, inner]
            # A rounding of the magnitude is not outside.
            slack = 1e-9 * (self.direction_ends[1] - self.direction_ends[0])
            odd = ~((scaled >= self.direction_ends[0] - slack) & (scaled <= self.direction_ends[1] + slack))
            for i, k in enumerate(inner):
                beyond[:, self.continuous[k]] |= odd[:, i]
        return beyond

    def _difference(self, response: Tensor) -> Tensor:
        if not any(self.base):
            return response
        entries = list(response.unbind(dim=1))
        columns = [_plus(entries[j], [(i, -c) for i, c in base], entries) for j, base in enumerate(self.base)]
        return torch.stack(columns, dim=1)


def _components(fields: Sequence[SampleField]) -> list[SampleField]:
    return [f for f in fields for _ in range(f.width)]


def _component_names(fields: Sequence[SampleField]) -> list[str]:
    return [f.name if not f.shape else f"{f.name}[{i}]" for f in fields for i in range(f.width)]


def _bases(given: str | Mapping[str, float]) -> Mapping[str, float]:
    return {given: 1.0} if isinstance(given, str) else given


def _plus(value: Tensor, base: Sequence[tuple[int, float]], columns: Sequence[Tensor]) -> Tensor:
    """Add multiples of columns."""
    for i, factor in base:
        value = value + columns[i] if factor == 1.0 else value + factor * columns[i]
    return value


def _difference_bases(
    names: Sequence[str], differences: Mapping[str, str | Mapping[str, float]]
) -> list[list[tuple[int, float]]]:
    found: list[list[tuple[int, float]]] = []
    for j, name in enumerate(names):
        bases: list[tuple[int, float]] = []
        for base, factor in _bases(differences.get(name, {})).items():
            if names.index(base) >= j:
                msg = f"surrogate codec, differences: {name} - {base}: {base} must be declared before {name}"
                raise ConfigError(msg)
            bases.append((names.index(base), float(factor)))
        found.append(bases)
    return found
