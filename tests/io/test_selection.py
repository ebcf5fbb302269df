"""Selection strings: what they keep, what they refuse and where."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parhelion.errors import DataError
from parhelion.io import Selection

N = 50
_rng = np.random.default_rng(5)
COLUMNS = {
    "P": _rng.uniform(0, 120, N).astype(np.float32),
    "ETA": _rng.uniform(-5, 5, N),
    "isMuon": _rng.random(N) < 0.4,
    "hasRich": _rng.integers(0, 2, N).astype(np.uint8),
    "n": _rng.integers(-100, 100, N).astype(np.int8),
    "jet/pt": _rng.uniform(0, 50, N),
    "E": _rng.normal(size=(N, 4)),
    "u": np.full(N, 2**64 - 1, dtype=np.uint64),
}
P, ETA, MU, RICH, K, JET, E = (COLUMNS[c] for c in ("P", "ETA", "isMuon", "hasRich", "n", "jet/pt", "E"))
P = P.astype(np.float64)
K = K.astype(np.int64)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("P > 3 and P < 100 and ETA > 2 and not isMuon", (P > 3) & (P < 100) & (ETA > 2) & ~MU),
        ("3 < P <= 100", (P > 3) & (P <= 100)),
        ("(P > 3) & ~isMuon | (ETA < -2)", ((P > 3) & ~MU) | (ETA < -2)),
        ("not hasRich or isMuon", (RICH == 0) | MU),
        ("hasRich and P", (RICH != 0) & (P != 0)),
        ("abs(ETA) > 2", np.abs(ETA) > 2),
        ("sqrt(P**2 + ETA**2) - P < 0.1", np.sqrt(P**2 + ETA**2) - P < 0.1),
        ("hypot(P, ETA) >= max(P, -ETA)", np.hypot(P, ETA) >= np.maximum(P, -ETA)),
        ("log10(P) + log(P) + exp(-P) > 2", np.log10(P) + np.log(P) + np.exp(-P) > 2),
        ("n * n > 200", K * K > 200),
        ("n % 3 == 0 or n // 7 == 2", (K % 3 == 0) | (K // 7 == 2)),
        ("`jet/pt` > 20 and P / 2 != 3", JET > 20),
        ("E[0] > 0 and sum(E) < 1 and isfinite(E)", (E[:, 0] > 0) & (E.sum(axis=1) < 1)),
        ("isMuon == False", ~MU),
        ("True", np.ones(N, bool)),
        ("hasRich", RICH != 0),
        ("  P > 3 # a comment\n and ETA > 2 # `jet/pt` > 3", (P > 3) & (ETA > 2)),
        ("sin(ETA)**2 + cos(ETA)**2 + tanh(P) < tan(0.5) + atan2(ETA, P) + floor(P) + min(P, 2)", None),
        ("log(ETA) > 0", np.where(ETA > 0, np.log(np.abs(ETA)), -1) > 0),
        ("1 / (n - n) > 0 or P > 50", np.ones(N, bool)),
        ("+P > -(-3.5)", P > 3.5),
        ("u > 1", np.ones(N, bool)),
    ],
)
def test_truth(text, expected):
    selection = Selection(text)
    selection.require(COLUMNS, "f.root")
    mask = selection.mask(COLUMNS, N)
    assert mask.dtype == np.bool_
    assert mask.shape == (N,)
    if expected is not None:
        np.testing.assert_array_equal(mask, expected)


def test_double_precision():
    x = {"x": np.array([0.1], dtype=np.float32), "b": np.array([200], dtype=np.uint8)}
    assert Selection("b + b == 400").mask(x, 1)
    assert not Selection("x == 0.1").mask(x, 1)


@pytest.mark.parametrize(
    ("text", "character", "detail"),
    [
        ("P >", 3, "invalid syntax"),
        ("", 1, "the expression is empty"),
        ("P > 3 && ETA > 2", 8, "write `and`, `or`, `not` instead of &&"),
        ("!isMuon", 1, "write `and`"),
        ("P > 3 and foo(P)", 11, "there is no function foo"),
        ("P > 3 and sqrt(P, 2)", 11, "sqrt takes 1 arguments, got 2"),
        ("P > 3 and __import__('os')", 11, "there is no function __import__"),
        ("P.real > 3", 1, "Attribute is not allowed"),
        ("  P > 'a'", 7, "Constant is not allowed"),
        ("[x for x in P]", 1, "ListComp is not allowed"),
        ("lambda: 3", 1, "Lambda is not allowed"),
        ("P > 3) or (ETA > 2", 6, "unmatched"),
        ("(P, ETA)", 1, "Tuple is not allowed"),
        ("P << 3 > 2", 1, "operator LShift is not allowed"),
        ("P in ETA", 1, "only < <= > >= == != compare"),
        ("P is ETA", 1, "only < <= > >= == != compare"),
        ("P if isMuon else ETA", 1, "IfExp is not allowed"),
        ("(a := 3) > 2", 2, "NamedExpr is not allowed"),
        ("P[-1] > 2", 1, "Subscript is not allowed"),
        ("P > 99999999999999999999", 5, "too large"),
        ("P > 3j", 5, "Constant is not allowed"),
    ],
)
def test_refused_with_the_place(text, character, detail):
    with pytest.raises(DataError) as error:
        Selection(text)
    assert f"selection {text!r}, character {character}: " in str(error.value)
    assert detail in str(error.value)


def test_unknown_column_names_the_place_and_the_nearest():
    with pytest.raises(DataError, match=r"character 11: f\.root has no column isMoun \(there are isMuon\)"):
        Selection("P > 3 and isMoun").require(COLUMNS, "f.root")
    with pytest.raises(DataError, match=r"character 18: f\.root has no column jet/eta"):
        Selection("`jet/pt` > 3 and `jet/eta` < 2").require(COLUMNS, "f.root")


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("P + 1", "the result is a number"),
        ("E > 0", r"the result has shape \(50, 4\)"),
        ("P > 3 & ETA > 2", "bind tighter than comparisons"),
        ("P[0] > 3", "too many indices"),
        ("E[7] > 3", "out of bounds"),
        ("E > E[0]", "could not be broadcast"),
    ],
)
def test_refused_while_computing(text, detail):
    with pytest.raises(DataError, match=detail):
        Selection(text).mask(COLUMNS, N)


def test_huge_powers_end():
    assert not Selection("9**9**9**9 < P").mask(COLUMNS, N).any()


@pytest.mark.parametrize("text", ["(" * 5000 + "P" + ")" * 5000, "-" * 9000 + "P", "P" * 20_000, "P\0 > 3"])
def test_absurd_lengths(text):
    with pytest.raises(DataError, match="selection"):
        Selection(text)


_words = [
    "P",
    "ETA",
    "isMuon",
    "E",
    "E[1]",
    "`jet/pt`",
    "and",
    "or",
    "not",
    "&",
    "|",
    "~",
    "(",
    ")",
    "<",
    "==",
    "+",
    "-",
]
_words += ["*", "/", "**", "%", "3", "0.5", "abs", ",", "sum(E)", "__class__", ".", "[", "]", "if", "is", "'s'", "1if"]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(_words), max_size=12).map(" ".join) | st.text(max_size=30))
def test_any_text_gives_a_mask_or_a_data_error(text):
    try:
        selection = Selection(text)
        selection.require(COLUMNS, "f.root")
        mask = selection.mask(COLUMNS, N)
    except DataError:
        return
    assert mask.shape == (N,)
