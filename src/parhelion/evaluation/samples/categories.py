"""All rows, and the rows of each value of a category: the parts that metrics give results for."""

from __future__ import annotations

from collections.abc import Iterator

from parhelion.evaluation.samples.binning import require_category, require_rows, scalar
from parhelion.evaluation.samples.comparison import Comparison


def parts_of(whole: Comparison, by: str | None, metric: str) -> Iterator[tuple[str | None, Comparison]]:
    """Yield the whole with label None, then the rows of each value of a category with its label.

    Parameters
    ----------
    whole
        All rows.
    by
        Name of a category field; None for the whole alone.
    metric
        Name for messages.

    Raises
    ------
    ConfigError
        The field is unknown in a sample, or no category.
    DataError
        A category has no rows in a sample.
    """
    if by is None:
        yield None, whole
        return
    field, ours = scalar(whole.reference, by, metric)
    require_category(field, metric)
    theirs = scalar(whole.generated, by, metric)[1]
    yield None, whole
    for code in field.values:
        masks = [values == code for values in (ours, theirs)]
        for mask in masks:
            require_rows(int(mask.sum()), metric, f"{by} = {field.label_of(code)}")
        yield field.label_of(code), whole.select(*masks)
