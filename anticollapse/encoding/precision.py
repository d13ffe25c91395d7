"""Which number format a forward pass computes in, the check that guards the faster one, and what computes."""

from __future__ import annotations

import copy
import logging
import platform
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

logger = logging.getLogger(__name__)

Precision = Literal["auto", "float32", "bfloat16"]

MIN_COSINE = 0.999
"""Smallest cosine between a bfloat16 and a float32 sentence vector for which bfloat16 is accepted."""

MIN_CENTRED_COSINE = 0.99
"""The same after the mean of the batch is removed: in a collapsed space the common direction hides errors."""


def bfloat16_supported(device: torch.device) -> bool:
    """Whether ``device`` multiplies bfloat16 matrices in hardware.

    Emulated bfloat16 is slower than float32, so "it runs" is not enough.

    Args:
        device: Where the encoder lives.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    # These probes are private in torch; a release without them simply means float32.
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, probe, lambda: False)()) for probe in probes)


def device_name(device: torch.device) -> str:
    """What computes, as its maker calls it: numbers and times are published with it.

    Args:
        device: The device; of all but a GPU and the CPU only the kind is known.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        return next(line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name"))
    except (OSError, StopIteration):  # no Linux, or one that does not say, as on ARM
        return platform.processor() or platform.machine() or "CPU"


def half_copy(module: nn.Module) -> nn.Module:
    """A bfloat16 copy of ``module``; the original stays as it is for checks and for exact work."""
    return copy.deepcopy(module).to(torch.bfloat16)


def agrees(fast: NDArray[np.float32], exact: NDArray[np.float32]) -> bool:
    """Whether fast vectors may stand for exact ones.

    Args:
        fast: ``(N, d)`` vectors computed in bfloat16.
        exact: ``(N, d)`` vectors of the same sentences computed in float32.

    Returns:
        True when every row has cosine of at least ``MIN_COSINE`` and, for 8 rows or more, of at least
        ``MIN_CENTRED_COSINE`` once the mean row is removed.
    """
    if not np.isfinite(fast).all():
        return False
    worst = float(_row_cosines(fast, exact).min(initial=1.0))
    if worst < MIN_COSINE:
        logger.warning("bfloat16 differs from float32 (worst cosine %.5f): computing in float32", worst)
        return False
    if len(exact) >= 8:
        spread = exact - exact.mean(axis=0)
        # Rows that sit on the mean have no direction left to compare.
        away = np.linalg.norm(spread, axis=1) > 1e-3 * np.linalg.norm(exact, axis=1)
        centred = float(_row_cosines(fast - fast.mean(axis=0), spread)[away].min(initial=1.0))
        if centred < MIN_CENTRED_COSINE:
            logger.warning("bfloat16 differs from float32 (worst centred cosine %.4f): using float32", centred)
            return False
    return True


def _row_cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    norms = np.linalg.norm(a64, axis=1) * np.linalg.norm(b64, axis=1)
    cosines: NDArray[np.float64] = np.einsum("nd,nd->n", a64, b64) / np.where(norms > 0, norms, 1.0)
    return cosines
