"""Checkpoint: everything a run needs to go on as if it had never stopped, in one file without pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Optimizer

from .errors import InputError
from .files import atomic_path


@dataclass(frozen=True)
class Checkpoint:
    """The state after a whole epoch.

    Attributes
    ----------
    tensors : by group (``network``, ``best``, ``optimizer``, ...), then by name.
    progress : plain data: epochs done, history, best score...
    """

    tensors: Mapping[str, Mapping[str, Tensor]]
    progress: Mapping[str, Any]


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write the file beside and then rename: a kill at any moment leaves the last checkpoint or this one.

    Raises
    ------
    ResourceError : the disk is full; the last checkpoint is untouched.
    """
    flat = {
        f"{group}/{name}": tensor.detach().cpu().contiguous().clone()
        for group, tensors in checkpoint.tensors.items()
        for name, tensor in tensors.items()
    }
    with atomic_path(path) as beside:
        try:
            save_file(flat, beside, {"progress": json.dumps(checkpoint.progress)})
        except SafetensorError as error:  # safetensors wraps the operating system's error in its own
            raise OSError(28 if "No space" in str(error) else 5, str(error)) from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Raises
    ------
    InputError : there is no checkpoint, or it is damaged.
    """
    if not path.exists():
        raise InputError(f"There is no checkpoint {path}.", "Leave out --resume to start a new run.")
    tensors: dict[str, dict[str, Tensor]] = {}
    try:
        with safe_open(path, "pt") as file:
            progress = json.loads((file.metadata() or {})["progress"])
            for key in file.keys():  # noqa: SIM118 - not a dict
                group, _, name = key.partition("/")
                tensors.setdefault(group, {})[name] = file.get_tensor(key)
    except (SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"The checkpoint {path} is damaged: {error}.", "Start a new run.") from error
    return Checkpoint(tensors, progress)


def optimizer_tensors(optimizer: Optimizer, names: Mapping[Tensor, str]) -> dict[str, Tensor]:
    """The optimizer's state as named tensors, ``parameter|key``."""
    return {
        f"{names[parameter]}|{key}": torch.as_tensor(value)
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
    }


def restore_optimizer(optimizer: Optimizer, names: Mapping[Tensor, str], tensors: Mapping[str, Tensor]) -> None:
    """The inverse of :func:`optimizer_tensors`, in place."""
    parameters = {name: parameter for parameter, name in names.items()}
    for key, tensor in tensors.items():
        name, _, entry = key.rpartition("|")
        parameter = parameters[name]
        # Adam keeps its step count on the CPU wherever the parameters are.
        target = tensor.clone() if entry == "step" else tensor.to(parameter.device, copy=True)
        if target.dim() == 5 and parameter.dim() == 5:
            target = target.contiguous(memory_format=_format_of(parameter))
        optimizer.state[parameter][entry] = target


def _format_of(tensor: Tensor) -> torch.memory_format:
    last = tensor.is_contiguous(memory_format=torch.channels_last_3d) and not tensor.is_contiguous()
    return torch.channels_last_3d if last else torch.contiguous_format
