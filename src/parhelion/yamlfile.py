"""YAML with the line of each key, so that an error can name it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from parhelion.errors import ConfigError

Location = tuple[str | int, ...]

UNKNOWN_KEY = "this key is unknown here; check its spelling and its indentation"

_TAG = "tag:yaml.org,2002:"
_PLAIN = (
    ("merge", r"<<", "<"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9][0-9_]*|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
     "-+0123456789."),
)  # fmt: skip


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Safe loader with the plain scalars of YAML 1.2: ``on`` and ``no`` are words, 1e-3 is a number, 010 is ten."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def whole_number(self, node: yaml.ScalarNode) -> int:
        text = str(self.construct_scalar(node)).replace("_", "")
        return int(text, 16 if text.startswith("0x") else 10)


for _kind, _pattern, _first in _PLAIN:
    _Loader.add_implicit_resolver(_TAG + _kind, re.compile(f"(?:{_pattern})$"), [c.strip("\0") for c in _first])
_Loader.add_constructor(_TAG + "int", _Loader.whole_number)


@dataclass(frozen=True)
class YamlDocument:
    """Plain data of a YAML file and where each key stands.

    Attributes
    ----------
    data
        The mapping at the top.
    lines
        Line (from 1) of each path of keys and indices.
    source
        File name for messages.
    text
        The file as it was read.
    """

    data: dict[str, Any]
    lines: dict[Location, int]
    source: str
    text: str = ""

    def line(self, location: Sequence[str | int]) -> int:
        """Line of a path, or of the longest known beginning of it."""
        path = tuple(location)
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def error(self, location: Sequence[str | int], text: str) -> ConfigError:
        """Error that names file, line and path."""
        where = ".".join(str(p) for p in location)
        return ConfigError(f"{self.source}, line {self.line(location)}: {where + ': ' if where else ''}{text}")

    def explain(self, error: ValidationError, prefix: Location = ()) -> ConfigError:
        """First problem of a pydantic error, in plain words with its line."""
        problem = error.errors(include_url=False)[0]
        location = prefix + self._known(prefix, problem["loc"])
        kind, given = problem["type"], problem.get("input")
        if kind.startswith("union_tag"):
            wanted = problem["ctx"].get("expected_tags")
            key = str(problem["ctx"]["discriminator"]).strip("'")
            found = given.get(key) if isinstance(given, dict) else None
            text = f"{key} must be one of {wanted}, got {found!r}" if wanted else f"the key {key} is missing"
        elif kind in ("extra_forbidden", "unexpected_keyword_argument"):
            text = UNKNOWN_KEY
        elif kind in ("missing", "missing_argument"):
            found = problem["loc"]
            location = (*prefix, *self._known(prefix, found[:-1]), *found[-1:])
            text = "this key is missing"
        elif kind in ("dataclass_type", "model_type", "dict_type"):
            text = f"expected keys with values, got {given!r}"
        elif kind == "source_kind":
            text = problem["msg"]
        else:
            text = problem["msg"].removeprefix("Value error, ")
            shown = "a mapping" if isinstance(given, dict) else "a list" if isinstance(given, list) else repr(given)
            text = text[0].lower() + text[1:]
            if kind != "value_error":
                text = f"{text}, got {shown}"
        return self.error(location, text)

    def _known(self, prefix: Location, found: Sequence[str | int]) -> Location:
        """Path without the tags that pydantic puts in for unions."""
        path: Location = ()
        for part in found:
            if prefix + path + (part,) in self.lines:
                path = (*path, part)
        return path


def parse_yaml(text: str, source: str) -> YamlDocument:
    """Read YAML text.

    Raises
    ------
    ConfigError
        It is not YAML, not a mapping, or a key is given twice.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        lines: dict[Location, int] = {}
        data = None
        if node is not None:
            _walk(node, (), lines, source, set())
            data = loader.construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it has characters that no text has"
        msg = f"{source}{line}: this is not valid YAML ({problem}); check indentation, quotes and colons"
        raise ConfigError(msg) from error
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        msg = f"{source}: this is not valid YAML ({reason})"
        raise ConfigError(msg) from error
    if not isinstance(data, dict):
        msg = f"{source}, line 1: expected keys with values, such as 'title: my study'"
        raise ConfigError(msg)
    return YamlDocument(data, lines, source, text)


def read_yaml(path: Path) -> YamlDocument:
    """Read a YAML file (see `parse_yaml`).

    Raises
    ------
    ConfigError
        The file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        msg = f"{path}: cannot be read ({reason}); `parhelion list` names the studies that come with the package"
        raise ConfigError(msg) from error
    return parse_yaml(text, str(path))


def _walk(node: yaml.Node, path: Location, lines: dict[Location, int], source: str, seen: set[int]) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    # An alias is the same node again: without this, one that stands in itself has no end.
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                msg = f"{source}, line {key.start_mark.line + 1}: a key is a list or a mapping, expected a word"
                raise ConfigError(msg)
            if key.tag == _TAG + "merge":
                continue
            name = key.value if key.tag == _TAG + "str" else yaml.load(key.value, Loader=_Loader)
            here = (*path, name)
            if here in lines:
                msg = f"{source}, line {key.start_mark.line + 1}: {name} is given twice (first in line {lines[here]})"
                raise ConfigError(msg)
            lines[here] = key.start_mark.line + 1
            _walk(value, here, lines, source, seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _walk(value, (*path, index), lines, source, seen)
