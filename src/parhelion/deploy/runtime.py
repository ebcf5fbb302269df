"""Packages at work: numpy and onnxruntime, nothing else.

The entry point for other programs::

    from parhelion.deploy.runtime import Package

    package = Package.load("rich.onnx")
    response, outside = package.sample(condition, event_id, seed=1)
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from parhelion.deploy import manifest as _manifest
from parhelion.deploy.generation import OutsidePolicy, require_policy, respond
from parhelion.deploy.models import allowed_words, components
from parhelion.errors import DataError, ShapeError
from parhelion.noise import normal, normal_table
from parhelion.sample import Schema

FloatArray = npt.NDArray[np.float64]
SingleArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

# Numbers of noise, condition and response of one call of the graph: its intermediate results should stay in a core's
# own memory.
_CALL_NUMBERS = 1 << 16
# A graph of many operators takes a while however few the rows.
_CALL_ROWS = 1 << 10
# Numbers of its widest intermediate result: a library compares each row with all that it stores.
_MOST_NUMBERS = 1 << 23
_SLACK = 1e-9


@dataclass(frozen=True)
class Replay:
    """What replaying the golden block found.

    Attributes
    ----------
    rows
        Rows replayed.
    noise_equal
        True if the noise has the very bits of the block.
    largest
        Largest |difference| / (scale + |value|) of any number of the responses.
    beyond
        Share of rows with a number beyond the tolerance.
    """

    rows: int
    noise_equal: bool
    largest: float
    beyond: float


class Package:
    """An exported surrogate: one file that answers in physical units and says what it is.

    It has what generation asks of a model (`parhelion.deploy.models.Model`). Make one with `Package.load`.
    """

    def __init__(self, session: Any, manifest: Mapping[str, Any], golden: _manifest.Golden, checksum: str) -> None:
        self.session, self.manifest, self.golden, self.checksum = session, manifest, golden, checksum
        self._schema = _manifest.schema_of(manifest)
        self.noise_width = int(manifest["noise"]["width"])
        columns = manifest["domain"]["columns"]
        self._low = np.array([c.get("low", -np.inf) for c in columns], dtype=np.float64)
        self._high = np.array([c.get("high", np.inf) for c in columns], dtype=np.float64)
        self._values = {j: np.array(c["values"], dtype=np.float64) for j, c in enumerate(columns) if "values" in c}
        width = self.noise_width + self._schema.condition_width + self._schema.response_width
        most = _MOST_NUMBERS // manifest["graph"].get("row_numbers", width)
        self._rows = max(1, min(max(_CALL_NUMBERS // width, _CALL_ROWS), most))
        # A graph without random numbers, or without conditions, does not have that input.
        self._inputs = {i.name for i in session.get_inputs()}

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, threads: int = 1) -> Package:
        """Read a package.

        Parameters
        ----------
        path
            File that ``parhelion export`` wrote.
        threads
            Threads of one call of the graph.

        Raises
        ------
        DataError
            The file is missing, truncated, edited, no package, or of another version of the manifest.
        """
        if not Path(path).is_file():
            msg = f"{path}: there is no such file"
            raise DataError(msg)
        try:
            content = Path(path).read_bytes()
            session = onnxruntime.InferenceSession(content, _options(threads), providers=["CPUExecutionProvider"])
        except OSError as error:
            msg = f"{path}: cannot be read ({error.strerror or error})"
            raise DataError(msg) from error
        except Exception as error:
            # onnxruntime's exceptions share no class of their own.
            msg = f"{path}: this is not an ONNX file, or it is damaged or truncated ({type(error).__name__})"
            raise DataError(msg) from error
        found = session.get_modelmeta().custom_metadata_map
        if _manifest.MANIFEST_KEY not in found:
            msg = f"{path}: is an ONNX file without a manifest of parhelion; make packages with parhelion export"
            raise DataError(msg)
        try:
            manifest = _manifest.decode(found[_manifest.MANIFEST_KEY])
            checksum = _manifest.checksum(content)
            golden = _manifest.Golden.decode(found.get(_manifest.GOLDEN_KEY, ""))
            return cls(session, manifest, golden, checksum)
        except DataError as error:
            msg = f"{path}: {error}"
            raise DataError(msg) from error

    @property
    def schema(self) -> Schema:
        """Condition and response fields."""
        return self._schema

    @property
    def provenance(self) -> Mapping[str, Any]:
        """How the surrogate was made, and the package's name and checksum."""
        return {**self.manifest["training"], "package": self.manifest["name"], "checksum": self.checksum}

    def noise(self, seed: int, event_id: IntArray, stage: int = 0) -> SingleArray:
        """Standard normal numbers keyed by (seed, event id, stage), shape (n, noise_width)."""
        return normal(seed, event_id, self.noise_width, stage=stage)

    def respond(self, condition: FloatArray, noise: SingleArray) -> SingleArray:
        """Responses in physical units, without a guard.

        Parameters
        ----------
        condition
            Shape (n, condition width), physical units.
        noise
            Shape (n, noise_width), standard normal.

        Returns
        -------
        ndarray
            Shape (n, response width), float32.

        Raises
        ------
        ShapeError
            A shape is not as above.
        """
        n = len(condition)
        for name, array, width in (
            ("condition", condition, self._schema.condition_width),
            ("noise", noise, self.noise_width),
        ):
            if array.shape != (n, width):
                msg = f"{name}: expected shape ({n}, {width}), got {array.shape}"
                raise ShapeError(msg)
        out = np.empty((n, self._schema.response_width), dtype=np.float32)
        condition = np.ascontiguousarray(condition, dtype=np.float64)
        noise = np.ascontiguousarray(noise, dtype=np.float32)
        for start in range(0, n, self._rows):
            rows = slice(start, start + self._rows)
            given = {"noise": noise[rows], "condition": condition[rows]}
            feed = {name: array for name, array in given.items() if name in self._inputs}
            out[rows] = self.session.run(None, feed)[0]
        return out

    def outside(self, condition: FloatArray) -> BoolArray:
        """Which conditions lie outside the domain, shape (n, condition width); NaN does."""
        beyond: BoolArray = ~((condition >= self._low) & (condition <= self._high))
        for j, values in self._values.items():
            beyond[:, j] = ~(condition[:, j : j + 1] == values).any(axis=1)
        for momentum in self.manifest["domain"]["momenta"]:
            px, py, pz = (condition[:, j] for j in momentum["columns"])
            low, high = np.array(momentum["low"]), np.array(momentum["high"])
            pz = np.maximum(pz, 1e-30)
            with np.errstate(over="ignore", invalid="ignore"):
                scaled = np.stack([0.5 * np.log(px**2 + py**2 + pz**2), px / pz, py / pz], axis=1)
            slack = _SLACK * (high - low)
            beyond[:, momentum["columns"]] |= ~((scaled >= low - slack) & (scaled <= high + slack))
        return beyond

    def clamp(self, condition: FloatArray) -> FloatArray:
        """Conditions moved into the range of each column, shape (n, condition width); categories stay."""
        moved: FloatArray = np.clip(condition, self._low, self._high)
        for j in self._values:
            moved[:, j] = condition[:, j]
        return moved

    def allowed(self, column: int) -> str:
        """The domain of one number of the condition in words."""
        field = components(self._schema)[column]
        values = self._values.get(column)
        return allowed_words(
            field,
            float(self._low[column]),
            float(self._high[column]),
            None if values is None else [float(v) for v in values],
        )

    def sample(
        self,
        condition: npt.ArrayLike,
        event_id: npt.ArrayLike,
        *,
        seed: int,
        stage: int = 0,
        outside: OutsidePolicy = "refuse",
    ) -> tuple[SingleArray, BoolArray]:
        """Responses behind the guard, with noise keyed by (seed, event id, stage).

        Parameters
        ----------
        condition
            Shape (n, condition width), physical units.
        event_id
            Shape (n,), whole numbers.
        seed, stage
            Key of the noise.
        outside
            What to do with conditions outside the domain: refuse, clamp or flag.

        Returns
        -------
        response : ndarray
            Shape (n, response width), float32.
        beyond : ndarray
            Shape (n,): rows outside the domain; their sum is the count to report.

        Raises
        ------
        DomainError
            A condition is outside the domain and refused.
        ShapeError
            A shape is not as above.
        """
        require_policy(outside, 1)
        matrix = np.asarray(condition, dtype=np.float64)
        ids = np.asarray(event_id)
        expected = (len(ids), self._schema.condition_width) if ids.ndim == 1 else ("n", self._schema.condition_width)
        if matrix.shape != expected:
            msg = f"condition: expected shape {expected}, got {matrix.shape}"
            raise ShapeError(msg)
        return respond(
            self, matrix, ids, np.arange(len(ids)),
            seed=seed, stage=stage, outside=outside, batch_rows=self._rows, source=str(self.manifest["name"]),
        )  # fmt: skip

    def replay(self) -> Replay:
        """Answer the golden block again: noise from its key, responses from its noise."""
        golden, tolerance = self.golden, self.manifest["tolerance"]
        noise = self.noise(golden.seed, golden.event_id, golden.stage)
        response = self.respond(golden.condition, golden.noise)
        error = np.abs(response.astype(np.float64) - golden.response)
        relative = error / (np.array(tolerance["scale"]) + np.abs(golden.response))
        # Written so that NaN is beyond.
        beyond = ~(relative <= tolerance["relative"]).all(axis=1)
        return Replay(
            rows=len(golden.event_id),
            noise_equal=noise.tobytes() == golden.noise.tobytes(),
            largest=float(relative.max(initial=0.0)),
            beyond=float(beyond.mean()) if len(beyond) else 0.0,
        )

    def verify(self) -> Replay:
        """Replay the golden block and refuse a package, or a machine, that answers otherwise.

        Raises
        ------
        DataError
            Noise or responses differ.
        """
        found, tolerance = self.replay(), self.manifest["tolerance"]
        name = self.manifest["name"]
        if table_checksum() != self.manifest["noise"]["table_sha256"] or not found.noise_equal:
            msg = f"package {name}: the noise of its golden block has other bits here; do not use it on this machine"
            raise DataError(msg)
        if found.beyond > tolerance["rows_beyond"]:
            msg = (
                f"package {name}: {found.beyond:.1%} of the {found.rows} rows of its golden block are answered "
                f"otherwise (largest relative difference {found.largest:.2g}, allowed {tolerance['relative']:g}); "
                "do not use it on this machine, or export it again"
            )
            raise DataError(msg)
        return found


def table_checksum() -> str:
    """SHA-256 of the little-endian doubles of the table of normal numbers."""
    import hashlib

    return hashlib.sha256(np.ascontiguousarray(normal_table(), dtype="<f8").tobytes()).hexdigest()


def _options(threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
