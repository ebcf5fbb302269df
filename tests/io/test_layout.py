"""Layouts and unit conversion."""

from __future__ import annotations

import numpy as np
import pytest

from parhelion.errors import DataError
from parhelion.io import FieldSource, Layout, read
from parhelion.io.units import conversion_factor
from parhelion.sample import Field, Schema


@pytest.mark.parametrize(
    ("have", "want", "factor"),
    [
        ("MeV", "GeV", 1e-3),
        ("GeV", "MeV", 1e3),
        ("TeV/c", "GeV", 1e3),
        ("MeV/c^2", "GeV/c2", 1e-3),
        ("MeV^2", "GeV^2", 1e-6),
        ("MeV**2", "GeV^2", 1e-6),
        ("mm", "cm", 0.1),
        ("µm", "mm", 1e-3),
        ("m", "mm", 1000),
        ("ns", "ps", 1000),
        ("mrad", "rad", 1e-3),
        ("deg", "rad", np.pi / 180),
        ("pb", "fb", 1000),
        ("%", "", 0.01),
        ("ADC", "ADC", 1),
        ("", "", 1),
    ],
)
def test_conversion(have, want, factor):
    assert conversion_factor(have, want) == pytest.approx(factor, rel=1e-15)
    assert conversion_factor(want, have) * conversion_factor(have, want) == pytest.approx(1, rel=1e-15)


@pytest.mark.parametrize(
    ("have", "want", "detail"),
    [
        ("MeV", "mm", "measure different quantities"),
        ("MeV", "GeV^2", "measure different quantities"),
        ("GeV", "", "measure different quantities"),
        ("mev", "GeV", "unit 'mev' is not known"),
        ("MeV", "furlong", "unit 'furlong' is not known"),
        ("mm/c", "mm", "unit 'mm/c' is not known"),
    ],
)
def test_impossible_conversion(have, want, detail):
    with pytest.raises(DataError, match=detail.replace("^", r"\^")):
        conversion_factor(have, want)


def test_layout_refuses_at_once():
    with pytest.raises(DataError, match="field P: unit 'mm' cannot be converted to 'GeV'"):
        FieldSource(Field("P", "GeV"), ("P",), "mm")
    with pytest.raises(DataError, match=r"field v: 2 columns were given, expected 1 or 3 \(shape \(3,\)\)"):
        FieldSource(Field("v", shape=(3,)), ("a", "b"))
    with pytest.raises(DataError, match="no field is declared"):
        Layout((), ())
    with pytest.raises(DataError, match=r"selection 'x >', character"):
        Layout((FieldSource(Field("x")),), (), selection="x >")


def test_names_and_columns():
    layout = Layout(
        (FieldSource(Field("P", "GeV"), "PT"),), (FieldSource(Field("y")),), event_id="PT", group=("g", "y")
    )
    assert layout.condition[0].columns == ("PT",)
    assert layout.event_id == ("PT",)
    assert layout.columns == ("PT", "y", "g")
    schema = Schema((Field("P", "GeV"),), (Field("y"),), (Field("m"),))
    assert Layout.from_schema(schema, weight="w", event_id="id").schema == schema
    assert Layout.from_schema(schema, weight="w", event_id="id").columns == ("P", "y", "m", "w", "id")


def test_scale_and_precision(tmp_path):
    np.savez(tmp_path / "a.npz", f=np.float32([1.5, 3]), i=np.int32([1, 2]), big=np.array([2**60 + 1, 7]))
    layout = Layout(
        (FieldSource(Field("f", "GeV"), unit="MeV"), FieldSource(Field("s", "V"), "i", scale=0.25)),
        (FieldSource(Field("big", kind="integer")),),
    )
    sample = read(tmp_path / "a.npz", layout)
    assert sample["f"].dtype == np.float32
    np.testing.assert_array_equal(sample["f"], np.float32([0.0015, 0.003]))
    np.testing.assert_array_equal(sample["s"], [0.25, 0.5])
    assert sample["big"][0] == 2**60 + 1
