"""One optimizer step, as fast as the device allows: eager, compiled, or replayed as a CUDA graph."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from anticollapse.errors import TrainingError
from anticollapse.pretraining.model import MaskedLanguageModel

logger = logging.getLogger(__name__)

PEAKS = {
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10": 125e12,
}
"""Dense bfloat16 operations a second that the makers state, by a part of the device's name (the first that fits)."""
WARM_UP = 3
"""Steps before a graph is captured, as libraries set themselves up in the first ones."""

Batch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""ids, segments, positions, places, labels: the arguments of :class:`MaskedLanguageModel`."""


def peak_flops(device: torch.device) -> float | None:
    """What the device's maker states for dense bfloat16, or None when it is not in the table."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in PEAKS.items() if part in name), None)


def autocast(device: torch.device, bfloat16: bool) -> torch.autocast:  # noqa: FBT001  it is the whole question
    """Matrix products in bfloat16, or none of it.

    Args:
        device: Where to compute.
        bfloat16: Whether.
    """
    # Each weight is used once a step, so there is nothing to keep; and a captured step must not look for it.
    return torch.autocast(device.type, torch.bfloat16, enabled=bfloat16, cache_enabled=False)


def make_optimizer(model: MaskedLanguageModel, *, weight_decay: float, device: torch.device) -> torch.optim.AdamW:
    """Fused AdamW; biases, LayerNorms and the position table do not decay.

    Args:
        model: On ``device``.
        weight_decay: Of the matrices.
        device: On a GPU the rate is a tensor, which a captured step reads anew each time.
    """
    decayed: list[Tensor] = []
    free: list[Tensor] = []
    for name, weight in model.named_parameters():
        (decayed if weight.ndim > 1 and "position_embeddings" not in name else free).append(weight)
    on_gpu = device.type == "cuda"
    return torch.optim.AdamW(
        [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}],
        lr=torch.zeros((), device=device) if on_gpu else 0.0,
        betas=(0.9, 0.98),
        eps=1e-6,
        fused=True,
        capturable=on_gpu,
    )


@dataclass
class _Captured:
    """A step as a graph: what goes into ``inputs`` before a replay comes out at ``loss``."""

    graph: torch.cuda.CUDAGraph
    inputs: Batch
    loss: Tensor


class Stepper:
    """Runs optimizer steps.

    On a GPU the whole step (forward, backward, clipping, AdamW) of each batch shape is captured once and replayed,
    as a step of a small network takes less time than starting its kernels one by one. What cannot be compiled or
    captured here falls back to the next simpler way, with a warning.

    Args:
        model: On ``device``.
        optimizer: Of its parameters.
        device: Where both are.
        bfloat16: Whether matrix products are computed in bfloat16; weights and moments stay float32.
        max_grad_norm: Gradients longer than this are shortened.
        engine: ``auto``, ``graph``, ``compile`` or ``eager``; without a GPU always eager.
    """

    def __init__(
        self,
        model: MaskedLanguageModel,
        optimizer: torch.optim.AdamW,
        device: torch.device,
        *,
        bfloat16: bool,
        max_grad_norm: float,
        engine: str,
    ) -> None:
        self.model, self.optimizer, self.device = model, optimizer, device
        self.bfloat16 = bfloat16
        self.max_grad_norm = max_grad_norm
        self.forward: Callable[..., Tensor] = model
        self.captured: dict[torch.Size, _Captured] = {}
        self.compiled: set[torch.Size] = set()
        self.engine = "eager"
        if device.type == "cuda" and engine != "eager":
            self.engine = "compiled graph" if engine == "auto" else engine
            if self.engine in {"compiled graph", "compile"}:
                self.forward = torch.compile(model, dynamic=False)

    def __call__(self, batch: Batch, rate: float) -> Tensor:
        """One step.

        Args:
            batch: On the device.
            rate: Learning rate.

        Returns:
            The loss before the step, a scalar that the next step may overwrite.
        """
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        if "graph" in self.engine:
            return self._replay(batch)
        return self._eager(batch)

    def _eager(self, batch: Batch) -> Tensor:
        shape = batch[0].shape
        if self.engine != "compile" or shape in self.compiled:
            return self._step(batch)
        loss = self._or_simpler(lambda: self._step(batch), batch)
        self.compiled.add(shape)
        return loss

    def _step(self, batch: Batch) -> Tensor:
        with autocast(self.device, self.bfloat16):
            loss = self.forward(*batch)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    def _replay(self, batch: Batch) -> Tensor:
        shape = batch[0].shape
        if shape not in self.captured:
            return self._or_simpler(lambda: self._capture_and_run(batch), batch)
        captured = self.captured[shape]
        for static, new in zip(captured.inputs, batch, strict=True):
            static.copy_(new, non_blocking=True)
        captured.graph.replay()
        return captured.loss

    def _capture_and_run(self, batch: Batch) -> Tensor:
        self.captured[batch[0].shape] = self._capture(batch)
        return self._replay(batch)

    def _capture(self, batch: Batch) -> _Captured:
        """Capture a step; weights and moments are as before afterwards."""
        inputs: Batch = tuple(part.clone() for part in batch)  # type: ignore[assignment]  # of the same length
        before = self._snapshot()
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self._step(inputs)
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        self.optimizer.zero_grad(set_to_none=True)
        try:
            with torch.cuda.graph(graph):
                loss = self._step(inputs)
        finally:
            self._restore(before)
        return _Captured(graph, inputs, loss)

    def _snapshot(self) -> dict[str, list[Tensor] | dict[int, dict[str, Tensor]]]:
        weights = [p.detach().clone() for p in self.model.parameters()]
        moments = {
            i: {k: v.clone() for k, v in self.optimizer.state[p].items() if isinstance(v, Tensor)}
            for i, p in enumerate(self.model.parameters())
            if p in self.optimizer.state
        }
        return {"weights": weights, "moments": moments}

    def _restore(self, before: dict[str, Any]) -> None:
        """Put everything back in place: the graph holds on to the very tensors."""
        with torch.no_grad():
            for i, p in enumerate(self.model.parameters()):
                p.copy_(before["weights"][i])
                for key, value in self.optimizer.state[p].items():
                    old = before["moments"].get(i, {}).get(key)
                    if isinstance(value, Tensor):
                        value.zero_() if old is None else value.copy_(old)

    def _or_simpler(self, attempt: Callable[[], Tensor], batch: Batch) -> Tensor:
        """Try, and go one way down when the machine cannot do it."""
        before = self._snapshot()
        try:
            return attempt()
        except torch.cuda.OutOfMemoryError as error:
            raise TrainingError(
                "the GPU has too little memory for a step", remedy="Give a smaller --batch-tokens"
            ) from error
        except Exception as error:
            # Compilers and drivers fail in ways of their own; anything that is our own mistake fails eagerly too.
            simpler = {"compiled graph": "graph", "graph": "eager", "compile": "eager"}[self.engine]
            logger.warning("a step cannot run as %s (%s): going on with %s", self.engine, _short(error), simpler)
            self.engine, self.forward = simpler, self.model
            self.captured.clear()
            self._restore(before)
            self.optimizer.zero_grad(set_to_none=True)
            return self._replay(batch) if simpler == "graph" else self._eager(batch)


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
