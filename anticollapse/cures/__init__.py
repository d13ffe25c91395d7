"""Training-free cures, each giving plain sentence-transformers modules."""

from __future__ import annotations

from anticollapse.cures.registry import CURES, Cure, CureName, cure_encoder, open_encoder, split_name

__all__ = ["CURES", "Cure", "CureName", "cure_encoder", "open_encoder", "split_name"]
