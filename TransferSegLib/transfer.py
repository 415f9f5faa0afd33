"""Carrying a source network over to a new task: what is loaded, mapped by channel name, made new, frozen."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .errors import ModelError
from .network import FixableBatchNorm3d, UNet
from .strategies import LAYER_GROUPS, Strategy, in_group, layer_group


@dataclass(frozen=True)
class TensorOrigin:
    """Where one tensor of the new network came from: ``loaded``, ``mapped`` or ``new``."""

    name: str
    shape: tuple[int, ...]
    origin: str
    detail: str = ""


def in_groups(network: nn.Module, groups: Sequence[str]) -> list[str]:
    """Names of the layers (modules with tensors of their own) of ``network`` in any of ``groups``."""
    return [
        name
        for name, module in network.named_modules()
        if next(module.parameters(recurse=False), None) is not None and in_group(name, groups)
    ]


def transfer_weights(
    network: UNet,
    source: Mapping[str, Tensor],
    strategy: Strategy,
    channels: Sequence[str],
    source_channels: Sequence[str],
) -> list[TensorOrigin]:
    """Load ``source`` into ``network`` except for what ``strategy`` makes new, in place.

    ``network`` keeps its own (random) weights in the new layers. When the channels differ, the first convolution is
    mapped by channel *name*: known channels keep their kernels, an added one starts from the mean of the source's
    kernels, a missing one is dropped.

    Parameters
    ----------
    source : state dict of the source network.
    channels, source_channels : names in the order of the networks' inputs.

    Returns
    -------
    One row for each tensor of ``network``: what was done with it.

    Raises
    ------
    ModelError : a tensor is missing in the source, or has another shape.
    """
    new_layers = in_groups(network, strategy.new)
    state = network.state_dict()
    rows = []
    for name, own in state.items():
        layer = name.rpartition(".")[0]
        if layer in new_layers:
            rows.append(TensorOrigin(name, tuple(own.shape), "new"))
            continue
        if name not in source:
            raise ModelError(f"The source model has no tensor '{name}'.", "Choose a source with the same network.")
        tensor, origin, detail = source[name], "loaded", ""
        if name == "encoder.1.conv1.weight" and tuple(channels) != tuple(source_channels):
            tensor, detail = _map_channels(tensor, channels, source_channels)
            origin = "mapped"
        if tensor.shape != own.shape:
            raise ModelError(
                f"Tensor '{name}' has the shape {tuple(tensor.shape)} in the source and {tuple(own.shape)} here.",
                "Choose a source with the same number of filters and steps.",
            )
        own.copy_(tensor)
        rows.append(TensorOrigin(name, tuple(own.shape), origin, detail))
    return rows


def freeze(network: UNet, strategy: Strategy) -> list[str]:
    """Freeze every layer that ``strategy`` does not train, in place.

    A frozen layer gets no gradient, and its batch normalisation keeps its running statistics through ``train()``.

    Returns
    -------
    Names of all frozen tensors, running statistics included.
    """
    trained = set(in_groups(network, strategy.trained))
    frozen = []
    for name, module in network.named_modules():
        own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        if not own:
            continue
        keep = name not in trained
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(not keep)
        if isinstance(module, FixableBatchNorm3d):
            module.fixed = keep
            module.train(network.training)
        if keep:
            frozen += [f"{name}.{tensor}" for tensor, _ in own]
    return frozen


def tensor_hash(network: nn.Module, names: Iterable[str]) -> str:
    """SHA-256 over the bytes of the named tensors: equal before and after a run if none changed by one bit."""
    state = network.state_dict()
    digest = hashlib.sha256()
    for name in sorted(names):
        digest.update(name.encode())
        digest.update(state[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def describe(network: UNet, rows: Sequence[TensorOrigin]) -> str:
    """The table shown before training: for each layer group what was done with its weights and how many are trained."""
    parameters = dict(network.named_parameters())
    lines = [f"{'layers':<20}{'weights':<18}{'parameters':>11}{'trained':>10}"]
    for group in LAYER_GROUPS:
        mine = [row for row in rows if row.name in parameters and layer_group(row.name.rpartition(".")[0]) == group]
        total = sum(parameters[row.name].numel() for row in mine)
        trained = sum(parameters[row.name].numel() for row in mine if parameters[row.name].requires_grad)
        origins = " + ".join(sorted({row.origin for row in mine}))
        lines.append(f"{group:<20}{origins:<18}{total:>11,}{trained:>10,}" + ("   frozen" if trained == 0 else ""))
    total = sum(parameter.numel() for parameter in parameters.values())
    trained = sum(parameter.numel() for parameter in parameters.values() if parameter.requires_grad)
    lines.append(f"{'all':<20}{'':<18}{total:>11,}{trained:>10,}")
    lines += [f"{row.name}: {row.detail}" for row in rows if row.detail]
    return "\n".join(lines)


def _map_channels(weight: Tensor, channels: Sequence[str], source_channels: Sequence[str]) -> tuple[Tensor, str]:
    """The first kernel (filters, C, 3, 3, 3) for other channels, and what was done in words."""
    if len(source_channels) != weight.shape[1]:
        raise ModelError(
            f"The source names {len(source_channels)} channels but its first layer takes {weight.shape[1]}.",
            "The model is damaged: get it again.",
        )
    known = {name: weight[:, index] for index, name in enumerate(source_channels)}
    mean = weight.mean(dim=1)
    added = [name for name in channels if name not in known]
    dropped = [name for name in source_channels if name not in channels]
    if len(added) == len(channels):
        raise ModelError(
            f"None of the channels {', '.join(channels)} is known to the source ({', '.join(source_channels)}).",
            "Name the channels as the source does.",
        )
    kept = [name for name in channels if name in known]
    detail = f"kept {', '.join(kept)}"
    detail += f"; added {', '.join(added)} (mean of the source's kernels)" if added else ""
    detail += f"; dropped {', '.join(dropped)}" if dropped else ""
    return torch.stack([known.get(name, mean) for name in channels], dim=1), detail
