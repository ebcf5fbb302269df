"""Readers and writers of samples behind `read`, `iterate` and `write`; the suffix says which format."""

from parhelion.io.base import ColumnInfo
from parhelion.io.formats import expand
from parhelion.io.layout import FieldSource, Layout
from parhelion.io.reading import columns, iterate, iterate_between, provenance, read, stored_layout
from parhelion.io.selection import Selection
from parhelion.io.writing import write

__all__ = [
    "ColumnInfo",
    "FieldSource",
    "Layout",
    "Selection",
    "columns",
    "expand",
    "iterate",
    "iterate_between",
    "provenance",
    "read",
    "stored_layout",
    "write",
]
