"""Training curves: losses, validation metric, learning rate and gradients against the step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

from parhelion.report.figures.arrays import FloatArray
from parhelion.report.style import LABEL, NULL, SERIES, new_figure, plain_text, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from parhelion.training.tracking import Curve

# Speed and time are numbers of the machine, told elsewhere in the report.
_NOT_SHOWN: Final = ("rate", "elapsed")
_PANELS: Final = {
    "loss": "Loss",
    "validation": "Validation metric",
    "learning_rate": "Learning rate",
    "gradient": "Gradient norm",
}
_OTHER: Final = "Terms of the loss"
_POINTS: Final = 400


def training_figure(curves: Mapping[str, Curve], *, label: str = LABEL) -> Figure:
    """One panel each for losses, validation metric, learning rates, gradient norms and other logged terms.

    Parameters
    ----------
    curves
        As `parhelion.training.tracking.read_curves` gives them.
    label
        Text above the figure.
    """
    panels: dict[str, dict[str, Curve]] = {title: {} for title in (*_PANELS.values(), _OTHER)}
    for name, curve in curves.items():
        if name not in _NOT_SHOWN and bool(np.isfinite(curve.value).any()):
            panels[_PANELS.get(name.split("/")[0].removesuffix("_null"), _OTHER)][name] = curve
    shown = [(title, found) for title, found in panels.items() if found]
    with style():
        columns = 2 if len(shown) == 4 else max(min(len(shown), 3), 1)
        rows = max(-(-len(shown) // columns), 1)
        figure = new_figure((7.2, 10.8, 14.4)[columns - 1], 0.5 + 4.2 * rows, "", label)
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for panel in axes[len(shown) :]:
            panel.set_axis_off()
        if not shown:
            axes[0].text(0.5, 0.5, "nothing was logged", ha="center", va="center", transform=axes[0].transAxes)
        for panel, (title, found) in zip(axes, shown, strict=False):
            _panel(panel, title, found)
    return figure


def _panel(axes: Axes, title: str, curves: Mapping[str, Curve]) -> None:
    drawn = []
    for index, (name, curve) in enumerate(curves.items()):
        seen = np.isfinite(curve.value)
        step, value = curve.step[seen].astype(np.float64), curve.value[seen]
        colour, dash = (NULL, "--") if name.endswith("_null") else (SERIES[index % len(SERIES)], "-")
        drawn.append(value)
        if len(step) > _POINTS:
            axes.plot(step, value, color=colour, lw=0.5, alpha=0.25, rasterized=True)
            step, value = _average(step, value)
        marker = "o" if len(step) < 50 and dash == "-" else None
        axes.plot(step, value, dash, color=colour, lw=1.5, marker=marker, ms=3.5, label=plain_text(name))
    everything = np.concatenate(drawn)
    if everything.min() > 0 and everything.max() / everything.min() > 30:
        axes.set_yscale("log")
    axes.margins(y=0.15)
    axes.set_xlabel("Step")
    axes.set_ylabel(title)
    axes.legend(loc="upper right", fontsize=10.5)


def _average(step: FloatArray, value: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Means of consecutive stretches, half as many as `_POINTS`."""
    parts = np.array_split(np.arange(len(step)), _POINTS // 2)
    return np.array([step[p].mean() for p in parts]), np.array([value[p].mean() for p in parts])
