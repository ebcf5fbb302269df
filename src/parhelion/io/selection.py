"""Selection strings: which rows of a file to keep."""

from __future__ import annotations

import ast
import difflib
import itertools
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from parhelion.errors import DataError

Array = npt.NDArray[Any]
BoolArray = npt.NDArray[np.bool_]

_MAX_LENGTH = 10_000
_QUOTED = re.compile(r"`([^`]+)`")
_COMMENT = re.compile(r"#[^\n]*")

_FUNCTIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    "abs": (1, np.abs),
    "sqrt": (1, np.sqrt),
    "exp": (1, np.exp),
    "log": (1, np.log),
    "log10": (1, np.log10),
    "sin": (1, np.sin),
    "cos": (1, np.cos),
    "tan": (1, np.tan),
    "tanh": (1, np.tanh),
    "atan2": (2, np.arctan2),
    "hypot": (2, np.hypot),
    "floor": (1, np.floor),
    "min": (2, np.minimum),
    "max": (2, np.maximum),
    "isfinite": (1, lambda x: _rowwise(np.isfinite(x), np.all)),
    "sum": (1, lambda x: _rowwise(x, np.sum)),
}
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.true_divide,
    ast.FloorDiv: np.floor_divide,
    ast.Mod: np.mod,
    ast.Pow: np.float_power,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}


def _rowwise(values: Array, reduce: Callable[..., Any]) -> Any:
    """Reduce all but the first axis."""
    array = np.asarray(values)
    return reduce(array.reshape(len(array), -1), axis=1) if array.ndim > 1 else array


class Selection:
    """A safe expression over the columns of a file, in the file's units.

    Allowed are column names, numbers, ``and or not``, ``& | ~`` between conditions, comparisons (also chained, as in
    ``3 < P < 100``), arithmetic, and the functions abs, sqrt, exp, log, log10, sin, cos, tan, tanh, atan2, hypot,
    floor, min and max (of two arguments), isfinite (all elements of a row) and sum (over the elements of a row).
    ``E[2]`` is element 2 of a vector column. A name that is not an identifier stands in backquotes:
    `` `jet/pt` > 20``. Numbers are computed in double precision; NaN fails every comparison except ``!=``. Nothing
    else is executed.

    Parameters
    ----------
    text
        The expression, e.g. ``"P > 3 and P < 100 and not isMuon"``.

    Attributes
    ----------
    names
        Columns that it needs.

    Raises
    ------
    DataError
        The expression has a syntax error or something that is not allowed; the message gives the character.
    """

    # What messages call it.
    kind: ClassVar[str] = "selection"

    def __init__(self, text: str) -> None:
        self.text = text
        self._quoted: dict[str, str] = {}
        self._shift = 1
        if len(text) > _MAX_LENGTH:
            msg = f"{self.kind}: {len(text)} characters, expected at most {_MAX_LENGTH}"
            raise DataError(msg)
        source = _COMMENT.sub(lambda match: " " * len(match[0]), _QUOTED.sub(self._quote, text))
        source = re.sub(r"\s", " ", source)
        self._shift = len(source) - len(source.lstrip()) + 1
        self._names: dict[str, int] = {}
        if not source.strip():
            raise self._error(0, "the expression is empty")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SyntaxWarning)
                warnings.simplefilter("ignore", DeprecationWarning)
                self._tree = ast.parse(source.strip(), mode="eval").body
            self._check(self._tree)
        except SyntaxError as error:
            hint = "; write `and`, `or`, `not` instead of &&, ||, !" if re.search(r"&&|\|\||!(?!=)", text) else ""
            where = error.offset or len(source.strip())  # no offset: the text ended too early
            raise self._error(where - 1, f"{error.msg}{hint}") from None
        except (RecursionError, MemoryError, ValueError):
            raise self._error(0, "the expression is nested too deeply or is not text") from None

    @property
    def names(self) -> frozenset[str]:
        """Columns that the expression needs."""
        return frozenset(self._names)

    def require(self, available: Iterable[str], source: str) -> None:
        """Refuse a selection that names a column which `source` lacks.

        Raises
        ------
        DataError
            A column is unknown; the message gives the character and the nearest names.
        """
        have = list(available)
        for name, where in self._names.items():
            if name not in have:
                near = difflib.get_close_matches(name, have, n=3) or have[:20]
                detail = f"{source} has no column {name} (there are {', '.join(near)})"
                raise self._error(where, detail)

    def mask(self, columns: Mapping[str, Array], rows: int) -> BoolArray:
        """Rows to keep, shape (rows,).

        Parameters
        ----------
        columns
            The needed columns, each of shape (rows, ...).
        rows
            Number of rows.

        Raises
        ------
        DataError
            The result is not one truth value a row, or an operation does not fit the types.
        """
        value = self.evaluate(columns)
        if value.dtype.kind not in "biu":
            raise self._error(0, "the result is a number, expected a condition such as P > 3")
        if value.ndim == 0:
            return np.full(rows, bool(value))
        if value.shape != (rows,):
            detail = f"the result has shape {value.shape}, expected one truth value a row; index a vector as E[0]"
            raise self._error(0, detail)
        return value.astype(bool)

    def evaluate(self, columns: Mapping[str, Array]) -> Array:
        """What the expression gives, of any type: an array of shape (rows, ...), or a scalar if it names no column.

        Parameters
        ----------
        columns
            The needed columns, each of shape (rows, ...).

        Raises
        ------
        DataError
            An operation does not fit the types.
        """
        with np.errstate(all="ignore"):
            try:
                return np.asarray(self._evaluate(self._tree, columns))
            except (TypeError, ValueError, IndexError, OverflowError) as error:
                raise self._error(0, str(error)) from None

    def _quote(self, match: re.Match[str]) -> str:
        # As long as what it stands for, so that messages count characters of the user's text.
        candidates = (f"_{number}".ljust(len(match[0]), "_") for number in itertools.count())
        placeholder = next(c for c in candidates if c not in self._quoted and c not in self.text)
        self._quoted[placeholder] = match[1]
        return placeholder

    def _error(self, offset: int, detail: str) -> DataError:
        return DataError(f"{self.kind} {self.text!r}, character {offset + self._shift}: {detail}")

    def _column(self, name: str) -> str:
        return self._quoted.get(name, name)

    def _check(self, node: ast.expr) -> None:
        """Walk the tree once, refusing what `_evaluate` does not know."""
        where = node.col_offset
        match node:
            case ast.BoolOp(values=values):
                children: list[ast.expr] = values
            case ast.UnaryOp(operand=operand):
                children = [operand]
            case ast.BinOp(left=left, op=op, right=right):
                if type(op) not in _BINARY and not isinstance(op, ast.BitAnd | ast.BitOr):
                    raise self._error(where, f"operator {type(op).__name__} is not allowed")
                children = [left, right]
            case ast.Compare(left=left, ops=ops, comparators=others):
                if any(type(op) not in _COMPARE for op in ops):
                    raise self._error(where, "only < <= > >= == != compare")
                children = [left, *others]
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
                if name not in _FUNCTIONS:
                    raise self._error(where, f"there is no function {name}; there are {', '.join(_FUNCTIONS)}")
                if len(args) != _FUNCTIONS[name][0]:
                    detail = f"{name} takes {_FUNCTIONS[name][0]} arguments, got {len(args)}"
                    raise self._error(where, detail)
                children = args
            case ast.Subscript(value=ast.Name() as inner, slice=ast.Constant(value=int(index))) if index >= 0:
                children = [inner]
            case ast.Name(id=name):
                self._names.setdefault(self._column(name), where)
                children = []
            case ast.Constant(value=bool() | int() | float() as value):
                if isinstance(value, int) and value >= 2**63:
                    raise self._error(where, "the number is too large, expected less than 2^63")
                children = []
            case _:
                kind = type(node).__name__
                raise self._error(where, f"{kind} is not allowed; use columns, numbers, operators and functions")
        for child in children:
            self._check(child)

    def _evaluate(self, node: ast.expr, columns: Mapping[str, Array]) -> Any:
        match node:
            case ast.BoolOp(op=op, values=values):
                parts = [_truth(self._evaluate(v, columns)) for v in values]
                join = np.logical_and if isinstance(op, ast.And) else np.logical_or
                result = parts[0]
                for part in parts[1:]:
                    result = join(result, part)
                return result
            case ast.UnaryOp(op=op, operand=operand):
                return self._unary(op, self._evaluate(operand, columns))
            case ast.BinOp(left=left, op=op, right=right):
                return self._binary(node, self._evaluate(left, columns), op, self._evaluate(right, columns))
            case ast.Compare(left=left, ops=ops, comparators=others):
                values = [self._evaluate(v, columns) for v in (left, *others)]
                result = np.True_
                for compare, a, b in zip(ops, values[:-1], values[1:], strict=True):
                    result = np.logical_and(result, _COMPARE[type(compare)](a, b))
                return result
            case ast.Call(func=ast.Name(id=name), args=args):
                return _FUNCTIONS[name][1](*(self._evaluate(a, columns) for a in args))
            case ast.Subscript(value=inner, slice=ast.Constant(value=int(index))):
                return self._evaluate(inner, columns)[:, index]
            case ast.Name(id=name):
                return _widen(columns[self._column(name)])
            case ast.Constant(value=bool() | int() | float() as value):
                return value
        raise self._error(node.col_offset, f"{type(node).__name__} is not allowed")

    def _unary(self, op: ast.unaryop, value: Any) -> Any:
        if isinstance(op, ast.Not):
            return np.logical_not(_truth(value))
        if isinstance(op, ast.Invert):
            return np.logical_not(value) if np.asarray(value).dtype.kind == "b" else np.invert(value)
        return np.negative(value) if isinstance(op, ast.USub) else np.positive(value)

    def _binary(self, node: ast.BinOp, left: Any, op: ast.operator, right: Any) -> Any:
        if isinstance(op, ast.BitAnd | ast.BitOr):
            if any(np.asarray(v).dtype.kind == "f" for v in (left, right)):
                detail = "& and | bind tighter than comparisons; write (P > 3) & (ETA > 2), or use and, or"
                raise self._error(node.col_offset, detail)
            return np.bitwise_and(left, right) if isinstance(op, ast.BitAnd) else np.bitwise_or(left, right)
        return _BINARY[type(op)](left, right)


def _truth(value: Any) -> Any:
    array = np.asarray(value)
    return array if array.dtype.kind == "b" else array != 0


def _widen(values: Array) -> Array:
    """Double precision, as an analyst expects of a cut: int8 columns do not overflow, 0.1 means 0.1."""
    if values.dtype.kind == "b":
        return values
    if values.dtype.kind == "f":
        return values.astype(np.float64, copy=False)
    return values.astype(np.int64) if values.dtype.kind == "i" or values.dtype.itemsize < 8 else values
