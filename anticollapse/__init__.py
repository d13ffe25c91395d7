"""anticollapse: show, explain and cure the collapse of mean-pooled sentence vectors."""

from __future__ import annotations

__version__ = "0.1.0"
