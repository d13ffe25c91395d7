"""Parameters that describe themselves: help, bounds and unit sit on the dataclass field.

The command line, the app's form and the cards read them from there, so none of them can say something else.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from anticollapse.errors import OptionError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
else:
    DataclassInstance = Any

Value = int | float | str | bool
KEY = "anticollapse"

D = TypeVar("D", bound=DataclassInstance)


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter, as a form or a command line needs it.

    Attributes:
        name: Identifier, unique within a variant, for example ``contrast_temperature``.
        default: Its value when nothing is said; its type is the parameter's type.
        help: One clause that says what it does.
        minimum: Smallest allowed value, or None.
        maximum: Largest allowed value, or None.
        unit: Unit, or an empty string for a plain number.
        choices: Allowed values, or empty when bounds decide.
    """

    name: str
    default: Value
    help: str
    minimum: float | None = None
    maximum: float | None = None
    unit: str = ""
    choices: tuple[Value, ...] = ()

    @property
    def option(self) -> str:
        """Its option on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def kind(self) -> type:
        """``int``, ``float``, ``str`` or ``bool``."""
        return type(self.default)

    def check(self, value: object) -> Value:
        """Give ``value`` the parameter's type.

        Raises:
            OptionError: If the value has another type or is out of bounds.
        """
        typed = self._typed(value)
        if self.choices and typed not in self.choices:
            raise self._error(value, "is not one of " + ", ".join(map(str, self.choices)))
        if isinstance(typed, int | float) and not isinstance(typed, bool):
            if math.isnan(typed):
                raise self._error(value, "is no number")
            if self.minimum is not None and typed < self.minimum:
                raise self._error(value, f"is below {self.minimum:g}")
            if self.maximum is not None and typed > self.maximum:
                raise self._error(value, f"is above {self.maximum:g}")
        return typed

    def _typed(self, value: object) -> Value:
        if isinstance(self.default, bool):
            if isinstance(value, bool):
                return value
            raise self._error(value, "is neither true nor false")
        if isinstance(self.default, str):
            return str(value)
        try:
            number = float(value)  # type: ignore[arg-type]  # whatever it is, float() decides
        except (TypeError, ValueError):
            raise self._error(value, "is no number") from None
        if isinstance(self.default, float):
            return number
        if number != int(number):
            raise self._error(value, "is no whole number")
        return int(number)

    def _error(self, value: object, reason: str) -> OptionError:
        return OptionError(f"{self.option} {value} {reason}", remedy=self.bounds or "Give a number")

    @property
    def bounds(self) -> str:
        """The allowed values in words, for a help text; empty when any value will do."""
        unit = f" {self.unit}" if self.unit else ""
        if self.choices:
            return "One of " + ", ".join(map(str, self.choices))
        if self.minimum is not None and self.maximum is not None:
            return f"From {self.minimum:,.10g} to {self.maximum:,.10g}{unit}"
        if self.minimum is not None:
            return f"At least {self.minimum:,.10g}{unit}"
        return f"At most {self.maximum:,.10g}{unit}" if self.maximum is not None else ""

    def to_json(self) -> dict[str, Any]:
        """All fields as plain JSON types."""
        return {**dataclasses.asdict(self), "choices": list(self.choices), "kind": self.kind.__name__}


def parameter(
    default: Value,
    description: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    unit: str = "",
    choices: Sequence[Value] = (),
) -> Any:  # noqa: ANN401  like dataclasses.field
    """A dataclass field that knows its help, bounds and unit.

    Args:
        default: Its value when nothing is said.
        description: One clause that says what it does.
        minimum: Smallest allowed value.
        maximum: Largest allowed value.
        unit: Unit.
        choices: Allowed values.
    """
    described = Parameter(
        name="", default=default, help=description, minimum=minimum, maximum=maximum, unit=unit, choices=tuple(choices)
    )
    return dataclasses.field(default=default, metadata={KEY: described})


def parameters_of(part: DataclassInstance, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
    """The described fields of a dataclass instance, its present values as defaults.

    Args:
        part: The instance.
        prefix: Put before each name, with an underscore.

    Yields:
        The field's name and its parameter.
    """
    for field in dataclasses.fields(part):
        described: Parameter | None = field.metadata.get(KEY)
        if described is not None:
            name = f"{prefix}_{field.name}" if prefix else field.name
            yield field.name, dataclasses.replace(described, name=name, default=getattr(part, field.name))


def check_fields(part: DataclassInstance, prefix: str = "") -> None:
    """Check the values that an instance was made with.

    Raises:
        OptionError: If one is out of bounds.
    """
    for _, described in parameters_of(part, prefix):
        described.check(described.default)


def with_values(part: D, values: Mapping[str, object], prefix: str = "") -> D:
    """A copy with some parameters changed.

    Args:
        part: The instance.
        values: Values by parameter name (with the prefix); names that belong elsewhere are passed over.
        prefix: As for :func:`parameters_of`.

    Raises:
        OptionError: If a value is out of bounds.
    """
    changes = {
        field: described.check(values[described.name])
        for field, described in parameters_of(part, prefix)
        if described.name in values
    }
    return dataclasses.replace(part, **changes) if changes else part
