"""The checkpoint to resume from: one file with everything, replaced as a whole.

Weights, momentum copy, queue, prototypes, optimizer, random state of every process and the position in the run are
tensors and a JSON header of one safetensors file, so there is never a checkpoint of which a part is older than the
rest.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from anticollapse.errors import TrainingError

HEADER = "anticollapse"
SYSTEM, OPTIMIZER, RANDOM, MEANS = "system.", "optimizer.", "random.", "means."


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory.

    Attributes:
        tensors: By name.
        state: Plain JSON types.
    """

    tensors: dict[str, Tensor]
    state: dict[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors under a prefix, without it."""
        return {name[len(prefix) :]: value for name, value in self.tensors.items() if name.startswith(prefix)}


def save(file: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically.

    Args:
        file: Where; its folder is made if need be.
        tensors: By name.
        state: Plain JSON types.

    Raises:
        TrainingError: If it cannot be written; what was there before stays.
    """
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_file(_separate(tensors), temporary, {HEADER: json.dumps(state)})
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(file)
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"the checkpoint cannot be written ({error})",
            where=str(file),
            remedy="Make room on the disk and resume; the previous checkpoint is intact",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def load(file: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        TrainingError: If it is missing or damaged.
    """
    try:
        with safe_open(file, framework="pt") as stream:
            state = json.loads(stream.metadata()[HEADER])
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118  not a dict
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(
            f"the checkpoint cannot be read ({error})", where=str(file), remedy="Start the training anew"
        ) from error
    return Checkpoint(tensors, state)


def optimizer_tensors(optimizer: torch.optim.Optimizer, system: nn.Module) -> dict[str, Tensor]:
    """The optimizer's state by parameter name.

    Args:
        optimizer: AdamW.
        system: Whose parameters it changes.
    """
    names = {id(p): name for name, p in system.named_parameters()}
    return {
        f"{names[id(p)]}.{key}": torch.as_tensor(value)
        for p, values in optimizer.state.items()
        for key, value in values.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, system: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put the state back that :func:`optimizer_tensors` gave."""
    parameters = dict(system.named_parameters())
    for name, value in tensors.items():
        owner, key = name.rsplit(".", 1)
        parameter = parameters[owner]
        # Fused AdamW keeps its step count where the parameter is.
        optimizer.state[parameter][key] = value.clone().to(parameter.device)


def random_state(device: torch.device) -> Tensor:
    """Torch's random state of this process, as bytes: the CPU's, then the device's."""
    state = torch.get_rng_state()
    return torch.cat([state, torch.cuda.get_rng_state(device)]) if device.type == "cuda" else state


def restore_random_state(state: Tensor, device: torch.device) -> None:
    """Put the state back that :func:`random_state` gave."""
    length = len(torch.get_rng_state())
    torch.set_rng_state(state[:length].clone())
    if device.type == "cuda" and len(state) > length:
        torch.cuda.set_rng_state(state[length:].clone(), device)


def _separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous tensors that share no memory, as the format wants them."""
    seen: set[int] = set()
    out = {}
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        pointer = plain.untyped_storage().data_ptr()
        out[name] = plain.clone() if pointer in seen else plain
        seen.add(pointer)
    return out


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process was about to rename.

    Args:
        folder: The run's folder; no other process may work in it.
    """
    for leftover in [*folder.glob(".*.tmp"), *folder.glob("*/.*.tmp")]:
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)
