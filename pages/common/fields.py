"""Widgets for parameters that describe themselves: help, bounds, unit and choices come from the dataclass."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from anticollapse.training import Parameter

STEPS = {"learning_rate": 1e-5}
"""What a field's buttons add where the default says nothing about the order of its values."""
LARGEST = 2**53 - 1  # what a browser can count to


def draw(parameters: Sequence[Parameter], key: str, values: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Draw one widget for each parameter.

    Args:
        parameters: What to ask for.
        key: Put before the widgets' keys.
        values: What they start at, instead of their defaults.

    Returns:
        The chosen values by name.
    """
    start = values or {}
    return {p.name: _field(p, f"{key}_{p.name}", start.get(p.name, p.default)) for p in parameters}


def title(parameter: Parameter) -> str:
    """Its label: the name in words, with the unit."""
    words = parameter.name.replace("_", " ")
    unit = f" ({parameter.unit})" if parameter.unit else ""
    return f"{words[0].upper()}{words[1:]}{unit}"


def _field(parameter: Parameter, key: str, value: Any) -> Any:  # noqa: ANN401
    label = title(parameter)
    help_text = ". ".join(part for part in (_sentence(parameter.help), parameter.bounds) if part) + "."
    common: dict[str, Any] = {"key": key, "help": help_text, "persist_state": "session"}
    if parameter.kind is bool:
        return st.checkbox(label, value=bool(value), **common)
    if parameter.choices:
        options = list(parameter.choices)
        return st.selectbox(label, options, index=options.index(value) if value in options else 0, **common)
    if parameter.kind is int:
        low, high = _bound(parameter.minimum, -LARGEST), _bound(parameter.maximum, LARGEST)
        return st.number_input(label, int(low), int(high), int(value), step=1, **common)
    if parameter.kind is float:
        low, high = parameter.minimum, parameter.maximum
        return st.number_input(
            label,
            None if low is None else float(low),
            None if high is None else float(high),
            float(value),
            step=STEPS.get(parameter.name, _step(float(value))),
            format="%.6g",
            **common,
        )
    return st.text_input(label, str(value), **common)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _bound(value: float | None, otherwise: int) -> float:
    return otherwise if value is None else max(-LARGEST, min(LARGEST, value))


def _step(value: float) -> float:
    """A tenth of the value's order: 0.05 goes by 0.01."""
    return 0.01 if value == 0 else 10.0 ** math.floor(math.log10(abs(value)))
