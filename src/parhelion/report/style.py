"""One look for all figures: the mplhep style at report size, colours that colour-blind readers can tell apart."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ImageFormat = Literal["svg", "png", "pdf"]

LABEL: Final = "Parhelion simulation"

# Okabe & Ito's palette, which readers with any of the common colour deficiencies can tell apart.
REFERENCE: Final = "#000000"
GENERATED: Final = "#0072B2"
NULL: Final = "#7A7A7A"
BAND: Final = "#009E73"
ALARM: Final = "#D55E00"
SERIES: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
EMPTY: Final = "#D4D4D4"
DIVERGING: Final = "RdBu_r"

_PARTICLES: Final = {"pi": "π", "mu": "μ", "tau": "τ", "gamma": "γ", "Lambda": "Λ"}
_PARTICLE: Final = re.compile(rf"(?<![A-Za-z0-9_])({'|'.join(_PARTICLES)})(?![A-Za-z0-9_])")

_OWN: Final[dict[str, Any]] = {
    # mplhep sizes its text for a 10 inch square slide; these figures are 13 inches wide and read on a laptop.
    "font.size": 13,
    "axes.titlesize": 13,
    "axes.labelsize": 13,
    "xtick.labelsize": 11.5,
    "ytick.labelsize": 11.5,
    "legend.fontsize": 11.5,
    "axes.linewidth": 1.1,
    "lines.linewidth": 1.6,
    "xtick.major.size": 7,
    "xtick.minor.size": 3.5,
    "ytick.major.size": 7,
    "ytick.minor.size": 3.5,
    "xtick.major.pad": 5,
    "axes.unicode_minus": True,
    "axes.formatter.use_mathtext": True,
    "mathtext.cal": "sans",
    "axes.formatter.limits": (-5, 5),
    "figure.dpi": 100,
    "savefig.dpi": 130,
    "svg.fonttype": "path",
    "svg.hashsalt": "parhelion",
    "pdf.fonttype": 42,
    # Greek and unusual letters in a user's field names.
    "font.sans-serif": ["TeX Gyre Heros", "Helvetica", "Arial", "DejaVu Sans"],
}

# Without dates, so that the same figure gives the same bytes.
_METADATA: Final[dict[ImageFormat, dict[str, Any]]] = {
    "svg": {"Date": None, "Creator": "Parhelion"},
    "png": {"Software": "Parhelion"},
    "pdf": {"CreationDate": None, "Creator": "Parhelion"},
}


@contextmanager
def style() -> Iterator[None]:
    """Use the report's style inside the block and restore the caller's afterwards."""
    import matplotlib as mpl
    import mplhep

    settings: Any = {**mplhep.style.ROOT, **_OWN}
    with mpl.rc_context(settings):
        yield


def new_figure(width: float, height: float, title: str = "", label: str = LABEL, *, arrange: bool = True) -> Figure:
    """Empty figure (inches), without pyplot's global state, headed by the label and what it was made on.

    With `arrange`, matplotlib fits the axes to their labels below the heading, which means to draw everything twice.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    # The heading stands at a fixed place, for which the layout must be told to leave room.
    top, room = 1.0 - 0.12 / height, 0.45 / height
    if arrange:
        figure.set_layout_engine("constrained", rect=(0.0, 0.0, 1.0, 1.0 - room), w_pad=0.1, h_pad=0.08)
    figure.suptitle(
        plain_text(label),
        x=0.12 / width,
        y=top,
        ha="left",
        va="top",
        fontsize=14,
        fontweight="bold",
        fontstyle="italic",
    )
    if title:
        right = 1.0 - 0.2 / width
        figure.text(right, top, pretty(title), ha="right", va="top", fontsize=14, in_layout=False)
    return figure


def note(axes: Axes, text: str, corner: str = "upper left", *, size: float = 11.5) -> None:
    """Write `text` into a corner of the axes, on white so that no curve runs through it."""
    vertical, horizontal = corner.split()
    axes.text(
        0.035 if horizontal == "left" else 0.965,
        0.96 if vertical == "upper" else 0.04,
        text,
        transform=axes.transAxes,
        ha=horizontal,
        va="top" if vertical == "upper" else "bottom",
        fontsize=size,
        linespacing=1.35,
        zorder=10,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1.5},
    )


def plain_text(text: str) -> str:
    """Text that matplotlib shows as it is: a dollar sign in a field's name does not start a formula."""
    return text.replace("$", r"\$")


def greek(text: str) -> str:
    """Text with Greek letters for the names of particles that stand alone."""
    return _PARTICLE.sub(lambda m: _PARTICLES[m[1]], text)


def pretty(text: str) -> str:
    """Text for matplotlib with Greek letters for the names of particles that stand alone."""
    return plain_text(greek(text))


def with_unit(name: str, unit: str) -> str:
    """Axis label."""
    return pretty(f"{name} [{unit}]" if unit else name)


def render(figure: Figure, image_format: ImageFormat) -> bytes:
    """Draw a figure; the same figure gives the same bytes.

    Parameters
    ----------
    figure
        Made by a function of `parhelion.report.figures`.
    image_format
        ``svg``, ``png`` or ``pdf``.
    """
    buffer = BytesIO()
    with style(), warnings.catch_warnings():
        # A letter that no installed font has is drawn as a box; that must not stop a report.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format=image_format, metadata=_METADATA[image_format])
    return buffer.getvalue()
