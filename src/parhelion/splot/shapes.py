"""The registry of mass shapes, and how a study file names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from parhelion.errors import ConfigError
from parhelion.splot.backgrounds import Chebyshev, Exponential
from parhelion.splot.peaks import CrystalBall, DoubleCrystalBall, DoubleGaussian, Gaussian
from parhelion.splot.shape import Role, Shape

SHAPES: Mapping[str, type[Shape]] = {
    shape.name: shape for shape in (Gaussian, DoubleGaussian, CrystalBall, DoubleCrystalBall, Exponential, Chebyshev)
}
"""All shapes by name; a new one is added here and inherits the tests."""


def shape_from(spec: str | Mapping[str, Any] | Shape, role: Role) -> Shape:
    """Build a shape from its name, or from a mapping with the key ``shape`` and the shape's options.

    Raises
    ------
    ConfigError
        The shape or an option is unknown, or the shape is not one for this role.
    """
    if isinstance(spec, Shape):
        shape = spec
    else:
        options = {"shape": spec} if isinstance(spec, str) else dict(spec)
        name = str(options.pop("shape", None))
        if name not in SHAPES:
            known = ", ".join(n for n, cls in SHAPES.items() if cls.role == role)
            msg = f"unknown {role} mass shape {name!r}; there are {known}"
            raise ConfigError(msg)
        cls = SHAPES[name]
        allowed = [f.name for f in fields(cls)]  # type: ignore[arg-type]
        for key in options:
            if key not in allowed:
                has = f"its options are {', '.join(allowed)}" if allowed else "it has none"
                msg = f"mass shape {name} has no option {key}; {has}"
                raise ConfigError(msg)
        shape = cls(**options)
    if shape.role != role:
        known = ", ".join(n for n, cls in SHAPES.items() if cls.role == role)
        msg = f"{shape.name} is a {shape.role} shape and cannot stand for the {role}; choose from {known}"
        raise ConfigError(msg)
    return shape
