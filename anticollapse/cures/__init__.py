"""Training-free cures, each giving plain sentence-transformers modules."""

from __future__ import annotations

from anticollapse.cures.card import save_cured
from anticollapse.cures.cure import Cure, Parameter, Prescription
from anticollapse.cures.fitting import CuredEncoder, Fit
from anticollapse.cures.registry import (
    CURES,
    CureName,
    cure_encoder,
    display_name,
    open_encoder,
    prescriptions,
    split_name,
)

__all__ = [
    "CURES",
    "Cure",
    "CureName",
    "CuredEncoder",
    "Fit",
    "Parameter",
    "Prescription",
    "cure_encoder",
    "display_name",
    "open_encoder",
    "prescriptions",
    "save_cured",
    "split_name",
]
