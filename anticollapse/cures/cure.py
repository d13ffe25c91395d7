"""What a training-free cure is: its parameters, and the steps that make its modules."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sentence_transformers.sentence_transformer.modules import Dense

from anticollapse.cures.moments import Moments
from anticollapse.encoding import TokenCounts
from anticollapse.errors import OptionError

SEPARATOR = "+"

Values = Mapping[str, float]
Level = Literal["layer", "token", "sentence"]


@dataclass(frozen=True)
class LayerStep:
    """Mixes the transformer's layers; fitted on nothing.

    Attributes:
        weights: Number of hidden states (layers + 1, the first being the embeddings) and parameter values to one weight
            for each.
    """

    weights: Callable[[int, Values], Sequence[float]]


@dataclass(frozen=True)
class TokenStep:
    """Weighs tokens in the mean; fitted on token counts alone.

    Attributes:
        weights: Counts and parameter values to ``(V,)`` weights.
        weighs_specials: Whether special tokens are weighed by their frequency, which word lists do not hold.
    """

    weights: Callable[[TokenCounts, Values], NDArray[np.float64]]
    weighs_specials: bool = False


@dataclass(frozen=True)
class SentenceStep:
    """Maps the sentence vector linearly; fitted on mean and covariance.

    Attributes:
        fit: Moments of sentence vectors and parameter values to a layer, or None when the values leave nothing to do.
    """

    fit: Callable[[Moments, Values], Dense | None]


Step = LayerStep | TokenStep | SentenceStep


@dataclass(frozen=True)
class Parameter:
    """A number that a cure can be given, as a form or the command line needs it.

    Attributes:
        name: What the user writes: ``whitening:k=128``.
        summary: One plain sentence.
        default: The value where none is given; None = it depends on the encoder, see ``automatic``.
        low: Smallest value.
        high: Largest value.
        whole: Whether only whole numbers make sense.
        automatic: What stands in for a default of None, for people.
    """

    name: str
    summary: str
    default: float | None
    low: float
    high: float = math.inf
    whole: bool = True
    automatic: str = ""


@dataclass(frozen=True)
class Cure:
    """A training-free cure.

    Attributes:
        name: What the user writes: ``raw-mini+centring``.
        title: What the interface shows after the encoder's name.
        summary: One plain sentence.
        paper: Where it comes from.
        url: The paper's address.
        steps: What is added to the encoder, in this order.
        parameters: What can be chosen.
    """

    name: str
    title: str
    summary: str
    paper: str
    url: str
    steps: tuple[Step, ...]
    parameters: tuple[Parameter, ...] = ()

    @property
    def level(self) -> Level:
        """Where it acts first: on layers, on tokens or on sentence vectors."""
        first = self.steps[0]
        return "layer" if isinstance(first, LayerStep) else "token" if isinstance(first, TokenStep) else "sentence"

    @property
    def needs_text(self) -> bool:
        """Whether it is fitted on text at all."""
        return self.reads_text(counted=False)

    def reads_text(self, *, counted: bool) -> bool:
        """Whether it is fitted on text.

        Args:
            counted: Token counts are there already (a reference count). Then text is needed for sentence vectors, and
                for the frequency of special tokens.
        """
        return any(
            isinstance(step, SentenceStep) or (isinstance(step, TokenStep) and (step.weighs_specials or not counted))
            for step in self.steps
        )


class Prescription(NamedTuple):
    """A cure with its parameter values; those left at a default that depends on the encoder are missing."""

    cure: Cure
    values: Values

    @property
    def text(self) -> str:
        """As the user would write it: ``whitening:k=128``; default values are left out."""
        defaults = {parameter.name: parameter.default for parameter in self.cure.parameters}
        # Never "1e+06": a plus sign joins cures.
        plain = {key: f"{int(v)}" if v == int(v) else f"{v:g}" for key, v in self.values.items()}
        given = [f"{key}={value}" for key, value in plain.items() if self.values[key] != defaults[key]]
        return f"{self.cure.name}:{','.join(given)}" if given else self.cure.name


def parse_prescription(text: str, cures: Mapping[str, Cure]) -> Prescription:
    """Read ``whitening:k=128`` or ``sif:a=0.001,components=1``.

    Args:
        text: A cure's name, then a colon and ``parameter=value`` separated by commas where there are any.
        cures: By name.

    Raises:
        OptionError: No such cure or parameter, or a value outside its range.
    """
    name, _, rest = text.partition(":")
    cure = cures.get(name)
    if cure is None:
        raise OptionError(f'there is no cure called "{name[:80]}"', remedy=f"Cures are: {', '.join(cures)}")
    given: dict[str, float] = {}
    for item in rest.split(",") if rest else []:
        key, _, value = item.partition("=")
        parameter = next((p for p in cure.parameters if p.name == key.strip()), None)
        if parameter is None or key.strip() in given:
            known = ", ".join(f"{p.name}=…" for p in cure.parameters) or "none"
            raise OptionError(f'"{item[:80]}" is no parameter of {name}', remedy=f"Its parameters are: {known}")
        given[parameter.name] = _number(value, parameter, name)
    defaults = {p.name: p.default for p in cure.parameters if p.default is not None}
    # In the order of the definition, so that one meaning has one spelling.
    values = {
        p.name: float((defaults | given)[p.name]) for p in cure.parameters if p.name in defaults or p.name in given
    }
    return Prescription(cure, values)


def _number(text: str, parameter: Parameter, cure: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    fits = math.isfinite(value) and parameter.low <= value <= parameter.high
    if not fits or (parameter.whole and value != int(value)):
        kind = "a whole number" if parameter.whole else "a number"
        limits = f"of {parameter.low:g} or more" if math.isinf(parameter.high) else f"from {parameter.low:g} to"
        limits += "" if math.isinf(parameter.high) else f" {parameter.high:g}"
        raise OptionError(f'{cure} has {parameter.name} = "{text[:40]}"', remedy=f"Give {kind} {limits}")
    return value
