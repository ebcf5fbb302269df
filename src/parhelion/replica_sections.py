"""The sections of a study file that say which rivals are trained on replicas of the training sample."""

from __future__ import annotations

from math import prod
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from parhelion.section import Section
from parhelion.training import TrainingConfig


class RivalSection(Section):
    """One way to make events from a training sample; done anew for each replica of it.

    Attributes
    ----------
    draw
        Without training: from a maximum-likelihood ``fit`` of the form of the truth (toys only), from
        ``permutations`` of each field among the training events, or by ``resampling`` them.
    surrogate, training
        Otherwise a surrogate, as in the study itself.
    permuted
        Train on so many events whose fields come from different training events.
    validated
        Hold back the section data's ``validation_share`` of the events to choose the best parameters.
    count
        Number of replicas; that of all if not given.
    """

    draw: Literal["fit", "permutations", "resampling"] | None = None
    surrogate: Any = None
    training: TrainingConfig | None = None
    permuted: int | None = Field(None, ge=2)
    validated: bool = False
    count: int | None = Field(None, ge=2)

    @model_validator(mode="after")
    def _one_way(self) -> RivalSection:
        trained = self.surrogate is not None and self.training is not None
        given = self.surrogate is not None or self.training is not None or self.permuted is not None or self.validated
        if (self.draw is None) != trained or (self.draw is not None and given):
            msg = "expected either draw, or surrogate and training"
            raise ValueError(msg)
        return self


class AmplificationSection(Section):
    """Quantile deviations (see `evaluation.model.amplification`).

    Attributes
    ----------
    splits
        Parts of each response, a list for each number of cells: ``[[10], [50]]``, or ``[[5, 5]]`` in two dimensions.
    generated
        Numbers of generated events.
    """

    splits: tuple[tuple[int, ...], ...] = Field(min_length=1)
    generated: tuple[Annotated[int, Field(ge=2)], ...] = Field(min_length=1)


class ExceedanceSection(Section):
    """Exceedances of a sum of responses.

    Attributes
    ----------
    fields
        Responses whose sum is looked at.
    levels
        Thresholds are where the truth, the study's test sample, falls to these probabilities.
    """

    fields: tuple[str, ...] = Field(min_length=1)
    levels: tuple[Annotated[float, Field(gt=0, lt=0.5)], ...] = (1e-2, 1e-3, 1e-4, 1e-5)


class ReplicasSection(Section):
    """Rivals trained on many independent training samples of one size, for numbers with the scatter of trainings.

    Attributes
    ----------
    count
        Number of training samples; the simulator's seeds follow that of the training data.
    rows
        Events that each rival generates from each of them.
    rivals
        What is compared, by name.
    amplification, exceedance
        What is measured; at least one.
    """

    count: int = Field(ge=2)
    rows: int = Field(ge=2)
    rivals: dict[str, RivalSection] = Field(min_length=1)
    amplification: AmplificationSection | None = None
    exceedance: ExceedanceSection | None = None

    @model_validator(mode="after")
    def _measured(self) -> ReplicasSection:
        if self.amplification is None and self.exceedance is None:
            msg = "nothing is measured; add amplification or exceedance"
            raise ValueError(msg)
        if self.amplification is not None and max(self.amplification.generated) > self.rows:
            msg = f"amplification of {max(self.amplification.generated)} generated events needs as many rows"
            raise ValueError(msg)
        return self

    @property
    def results(self) -> tuple[str, ...]:
        """What requirements on the metric ``replicas`` can be on."""
        kinds = [kind for kind in ("amplification", "exceedance") if getattr(self, kind) is not None]
        return tuple(f"{kind}, {name}" for kind in kinds for name in self.rivals)

    @property
    def quantities(self) -> tuple[str, ...]:
        """Names of what is measured."""
        splits = self.amplification.splits if self.amplification is not None else ()
        levels = self.exceedance.levels if self.exceedance is not None else ()
        return (*(f"factor_{prod(parts)}" for parts in splits), *(f"ratio_{level:g}" for level in levels))
