"""The one list of variants. Command line, app form, studies and cards are derived from it.

A variant of your own, in a file ``mine.py``::

    from anticollapse.training import CoSENT, Dropout, NTXent, Variant, register

    register(
        Variant(
            id="cosent-simcse",
            title="CoSENT + SimCSE",
            summary="Graded pairs in the right order, and every sentence close to itself only.",
            supervised=CoSENT(scale=20.0),
            contrast=NTXent(temperature=0.05, weight=0.1),
            augmentations=(Dropout(),),
        )
    )

``anticollapse train cosent-simcse --variant-file mine.py …`` then knows it with all its options.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from anticollapse.errors import OptionError
from anticollapse.training.ladder import ROWS
from anticollapse.training.variant import Variant

_REGISTRY: dict[str, Variant] = {}


def register(variant: Variant, *, replace: bool = False) -> Variant:
    """Add a variant.

    Args:
        variant: The variant.
        replace: Whether it may take the place of one of the same name.

    Returns:
        The variant.

    Raises:
        OptionError: If the name is taken.
    """
    if variant.id in _REGISTRY and not replace and _REGISTRY[variant.id] != variant:
        raise OptionError(f'there is a variant called "{variant.id}" already', remedy="Choose another name")
    _REGISTRY[variant.id] = variant
    return variant


def variants() -> Mapping[str, Variant]:
    """All variants by name, in the order of the ladder."""
    return MappingProxyType(_REGISTRY)


def get_variant(name: str) -> Variant:
    """The variant of that name.

    Raises:
        OptionError: If there is none.
    """
    try:
        return _REGISTRY[name]
    except KeyError:
        known = ", ".join(_REGISTRY)
        raise OptionError(f'there is no variant called "{name}"', remedy=f"The variants are: {known}") from None


def load_variant_file(path: str | Path) -> tuple[Variant, ...]:
    """Run a Python file that registers variants. It is your own code: it is run, not checked.

    Args:
        path: The file.

    Returns:
        The variants that it registered.

    Raises:
        OptionError: If it cannot be read or run, or registers nothing.
    """
    file = Path(path).expanduser().resolve()
    if not file.is_file() or file.suffix != ".py":
        raise OptionError(
            "there is no such Python file", where=str(path), remedy="Give a .py file that registers variants"
        )
    before = dict(_REGISTRY)
    name = f"anticollapse_variants_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise OptionError("the file cannot be read as Python", where=str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses of the file look their module up
    try:
        spec.loader.exec_module(module)
    except OptionError:
        raise
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise OptionError(f"the file does not run ({text})", where=str(path), remedy="Mend it") from error
    added = tuple(variant for key, variant in _REGISTRY.items() if before.get(key) is not variant)
    if not added:
        raise OptionError("the file registers no variant", where=str(path), remedy="Call register(Variant(…)) in it")
    return added


for _row in ROWS:
    register(_row)
