"""What every measure returns: a value that knows its interval, its n, its unit and what it means."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

Direction = Literal["higher", "lower", ""]
Interval = tuple[float, float]

_NO_DETAILS: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True)
class Measure:
    """One measured number, or the reason why there is none.

    Attributes:
        key: Stable identifier, used in JSON and in the URL.
        name: Short name for a table.
        value: The number, or None when it is undefined.
        interval: 95 % interval, or None when none can be given.
        n: How many observations (see ``counts``) the value rests on.
        unit: Unit or range, for the table's header.
        meaning: One plain sentence for someone who has read no paper.
        undefined: Why ``value`` is None, as "undefined because ...".
        details: Further facts, such as how the interval was made ("interval"), why there is none ("no_interval"), or
            what was left out.
        counts: What ``n`` counts: "pairs" or "sentences".
        reads_as: How to read the number, for example "0 is healthy, 1 is collapsed".
        better: Which direction is better, or "" when neither is.
    """

    key: str
    name: str
    value: float | None
    interval: Interval | None
    n: int
    unit: str
    meaning: str
    undefined: str = ""
    details: Mapping[str, object] = field(default_factory=lambda: _NO_DETAILS)
    counts: str = "sentences"
    reads_as: str = ""
    better: Direction = ""

    @property
    def defined(self) -> bool:
        """Whether there is a value."""
        return self.value is not None

    @property
    def no_interval(self) -> str:
        """Why a value has no interval, to complete "no interval because ..."; empty when it has one."""
        return "" if self.value is None or self.interval is not None else str(self.details.get("no_interval", ""))

    def describe(self) -> str:
        """Text such as ``0.62 [0.61, 0.63], n = 1,379``; without a value or an interval it says why."""
        if self.value is None:
            return self.undefined
        decimals = decimals_of(self.value, self.interval)
        text = format_number(self.value, decimals)
        if self.interval is not None:
            low, high = (format_number(bound, decimals) for bound in self.interval)
            text += f" [{low}, {high}]"
        reason = f" (no interval because {self.no_interval})" if self.no_interval else ""
        return f"{text}, n = {self.n:,}{reason}"

    def to_json(self) -> dict[str, Any]:
        """All fields as plain JSON types."""
        return {
            "key": self.key,
            "name": self.name,
            "value": to_plain(self.value),
            "interval": to_plain(self.interval),
            "n": int(self.n),
            "counts": self.counts,
            "unit": self.unit,
            "meaning": self.meaning,
            "reads_as": self.reads_as,
            "better": self.better,
            "undefined": self.undefined,
            "details": to_plain(dict(self.details)),
        }


@dataclass(frozen=True)
class Definition:
    """The row of a measure: everything about it that does not depend on the data."""

    key: str
    name: str
    unit: str
    meaning: str
    reads_as: str
    counts: str
    better: Direction = ""

    def measured(
        self, value: float, interval: Interval | None, n: int, details: Mapping[str, object] | None = None
    ) -> Measure:
        """A result with a value."""
        return self._result(value, interval, n, "", details)

    def undefined(self, reason: str, n: int, details: Mapping[str, object] | None = None) -> Measure:
        """A result without a value; ``reason`` completes the sentence "undefined because ..."."""
        return self._result(None, None, n, f"undefined because {reason}", details)

    def _result(
        self,
        value: float | None,
        interval: Interval | None,
        n: int,
        undefined: str,
        details: Mapping[str, object] | None,
    ) -> Measure:
        return Measure(
            key=self.key,
            name=self.name,
            value=value,
            interval=interval,
            n=n,
            unit=self.unit,
            meaning=self.meaning,
            undefined=undefined,
            details=MappingProxyType(dict(details or {})),
            counts=self.counts,
            reads_as=self.reads_as,
            better=self.better,
        )


def to_plain(value: object) -> Any:  # noqa: ANN401  JSON is what it is
    """NumPy values, tuples and mappings as plain JSON types; a number that is not finite becomes None."""
    if isinstance(value, np.ndarray):
        return to_plain(value.tolist())
    if isinstance(value, np.generic):
        return to_plain(value.item())
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def format_number(value: float, decimals: int) -> str:
    """A number with thousands separators, a true minus sign and no negative zero."""
    text = f"{value:,.{decimals}f}"
    if text.startswith("-"):
        text = text[1:] if float(text.replace(",", "")) == 0 else "−" + text[1:]
    return text


def decimals_of(value: float, interval: Interval | None) -> int:
    """Two or three significant digits, more only where the interval would otherwise look empty."""
    decimals = 2 if abs(value) < 10 else 1 if abs(value) < 1000 else 0
    if interval is None:
        return decimals if abs(value) >= 0.05 or value == 0 else 3
    width = interval[1] - interval[0]
    while decimals < 4 and 0 < width < 2 * 10**-decimals:
        decimals += 1
    return decimals
