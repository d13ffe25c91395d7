"""The examples in the docstrings run and give what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import anticollapse.objectives

MODULES = [m.name for m in pkgutil.iter_modules(anticollapse.objectives.__path__) if not m.name.startswith("_")]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    # ``anticollapse.objectives.angle`` the attribute is the function, so the module is taken by its import name.
    result = doctest.testmod(importlib.import_module(f"anticollapse.objectives.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
