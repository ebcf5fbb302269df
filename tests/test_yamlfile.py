from __future__ import annotations

import math
from pathlib import Path

import pytest

from parhelion.errors import ConfigError
from parhelion.yamlfile import parse_yaml, read_yaml


def test_lines_of_keys_and_items() -> None:
    document = parse_yaml("a: 1\nb:\n  - {c: 2}\n  - d: 3\n    e: 4\n", "s.yaml")
    assert document.data == {"a": 1, "b": [{"c": 2}, {"d": 3, "e": 4}]}
    assert [document.line(p) for p in (("a",), ("b",), ("b", 0, "c"), ("b", 1, "e"))] == [1, 2, 3, 5]
    # An unknown path has the line of its longest known beginning.
    assert document.line(("b", 1, "missing", 4)) == 4
    assert str(document.error(("b", 1, "e"), "is wrong")) == "s.yaml, line 5: b.1.e: is wrong"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),  # a requirement has a key `on`; YAML 1.1 would make it true
        ("no", "no"),
        ("n", "n"),
        ("true", True),
        ("1e-3", 1e-3),
        ("3.0e-3", 3e-3),
        ("600_000", 600_000),
        ("010", 10),
        ("0x10", 16),
        ("-5", -5),
        ("1.", 1.0),
        (".5", 0.5),
        (".inf", math.inf),
        ("~", None),
        ("", None),
        ("12:30", "12:30"),
        ("2024-13-45", "2024-13-45"),
        ('"1"', "1"),
        ("1.2.3", "1.2.3"),
        ("e5", "e5"),
    ],
)
def test_plain_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    found = parse_yaml(f"key: {text}\n", "s.yaml").data["key"]
    assert found == value
    assert type(found) is type(value)


def test_keys_that_are_words_or_numbers() -> None:
    document = parse_yaml("on: 1\n0: 2\n", "s.yaml")
    assert document.data == {"on": 1, 0: 2}
    assert document.line((0,)) == 2


def test_merged_and_aliased_keys() -> None:
    document = parse_yaml("a: &x {p: 1}\nb: {<<: *x, q: 2}\nc: *x\n", "s.yaml")
    assert document.data == {"a": {"p": 1}, "b": {"p": 1, "q": 2}, "c": {"p": 1}}
    assert document.line(("c", "p")) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: a is given twice (first in line 1)"),
        ("a:\n  b: 1\n\t- c\n", "line 3: this is not valid YAML"),
        ("a: b: c\n", "line 1: this is not valid YAML"),
        ("a: [1,\n", "this is not valid YAML"),
        ("- 1\n", "line 1: expected keys with values, such as 'title: my study'"),
        ("", "line 1: expected keys with values"),
        ("just words", "line 1: expected keys with values"),
        ("? [a]\n: 1\n", "line 1: a key is a list or a mapping"),
        ("a: !!python/object:os.system 1\n", "could not determine a constructor"),
        ("a: !!int word\n", "this is not valid YAML"),
        ("a: \x00\n", "this is not valid YAML"),
        ("a: 1\n---\nb: 2\n", "this is not valid YAML"),
    ],
)
def test_what_is_no_study_is_one_sentence(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "s.yaml")
    assert message in str(caught.value)
    assert str(caught.value).startswith("s.yaml")
    assert "\n" not in str(caught.value)


def test_a_list_that_holds_itself_has_an_end() -> None:
    assert "a" in parse_yaml("a: &x [*x]\n", "s.yaml").data


def test_aliases_of_aliases_take_no_time() -> None:
    levels = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 40))
    assert "a39" in parse_yaml(f"a0: &a0 [x]\n{levels}", "s.yaml").data


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothere\.yaml: cannot be read \(No such file"):
        read_yaml(tmp_path / "nothere.yaml")
    with pytest.raises(ConfigError, match="Is a directory"):
        read_yaml(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ConfigError, match="not a text file"):
        read_yaml(tmp_path / "binary.yaml")
