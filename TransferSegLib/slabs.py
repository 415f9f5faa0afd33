"""The network in a fraction of the memory: exactly what it gives for the whole image, computed slab by slab.

Cutting the image itself into patches does not do. A trained network sees 50 voxels far, and what it says changes with
what lies around; where it normalises by each image's own statistics, a patch has others (cubes of 64 voxels of 2 mm:
Dice of 0.12 for enhancing tumour against its answer for the whole, 0.55 with the whole's statistics). So each *step* of
the network is cut: two convolutions see two voxels far, and what is normalised is counted first. Between the steps only
what the next one needs is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .network import DecoderStep, EncoderStep, FixableBatchNorm3d, UNet, activate, pool

# How far two convolutions of 3x3x3 see.
_REACH = 2

# Layers low to high, along k, of something that is never there as a whole.
Layers = Callable[[int, int], Tensor]


def forward_in_slabs(network: UNet, image: Tensor, thickness: int) -> Tensor:
    """Logits (1, F, i, j, k) of ``image`` (1, C, i, j, k), as of ``network(image)`` but for rounding.

    Parameters
    ----------
    thickness : of a slab along k, in voxels of the step at hand; even.
    """
    encoder: dict[str, Any] = dict(network.encoder.items())
    decoder: dict[str, Any] = dict(network.decoder.items())
    seen: dict[str, Tensor] = {}
    x = image
    for name, step in encoder.items():
        seen[name] = x
        x = step.norm(_pooled(step, x, thickness))
    x = network.bottom(x)
    for name, step in decoder.items():
        head = network.head if name == "1" else None
        x = _decoded(step, x, encoder[name], seen.pop(name), thickness, head)
    return x


def _pooled(step: EncoderStep, x: Tensor, thickness: int) -> Tensor:
    """What goes into the normalisation of an encoder step."""
    return _joined(x.shape[4] // 2, (pool(_skip(step, x, low, high)) for low, high in _slabs(x.shape[4], thickness)))


def _decoded(
    step: DecoderStep, x: Tensor, encoder: EncoderStep, seen: Tensor, thickness: int, head: torch.nn.Module | None
) -> Tensor:
    """What comes out of a decoder step, and of the head; ``seen`` is what the encoder step beside it was given."""
    side = seen.shape[4]

    def raised_and_skipped(low: int, high: int) -> Tensor:
        return torch.cat([_raised(step, x, low, high), _skip(encoder, seen, low, high)], dim=1)

    norm = _with_statistics(step.norm, raised_and_skipped, side, thickness)

    def parts() -> Iterator[Tensor]:
        for low, high in _slabs(side, thickness):
            first, last = max(low - _REACH, 0), min(high + _REACH, side)
            part = norm(raised_and_skipped(first, last))
            part = activate(step.conv2(activate(step.conv1(part))))[..., low - first : high - first]
            yield part if head is None else head(part)

    return _joined(side, parts())


def _skip(step: EncoderStep, x: Tensor, low: int, high: int) -> Tensor:
    """Layers ``low`` to ``high`` of the skip connection of an encoder step that is given ``x``."""
    first, last = max(low - _REACH, 0), min(high + _REACH, x.shape[4])
    return activate(step.conv2(activate(step.conv1(x[..., first:last]))))[..., low - first : high - first]


def _raised(step: DecoderStep, x: Tensor, low: int, high: int) -> Tensor:
    """Layers ``low`` to ``high``, both even, of the transposed convolution of ``x``, which has half as many layers."""
    first, last = low // 2, min(high // 2 + 1, x.shape[4])
    return activate(step.up(x[..., first:last]))[..., : high - low]


def _with_statistics(norm: FixableBatchNorm3d, layers: Layers, side: int, thickness: int) -> Callable[[Tensor], Tensor]:
    """The normalisation of all ``layers``, to be applied to some of them."""
    if norm.statistics == "running":
        return norm
    moments = []
    for low, high in _slabs(side, thickness):
        variance, mean = torch.var_mean(layers(low, high).float(), (0, 2, 3, 4), correction=0)
        moments.append(torch.stack([mean, variance + mean**2]).cpu().double() * (high - low) / side)
    mean, square = torch.stack(moments).sum(0)
    mean, variance = (value.to(norm.weight) for value in (mean, square - mean**2))
    return lambda x: functional.batch_norm(x, mean, variance, norm.weight, norm.bias, eps=norm.eps)


def _slabs(side: int, thickness: int) -> Iterator[tuple[int, int]]:
    for low in range(0, side, thickness):
        yield low, min(low + thickness, side)


def _joined(side: int, parts: Iterator[Tensor]) -> Tensor:
    """The parts, one after the other along k, without ever having them twice."""
    result: Tensor | None = None
    low = 0
    for part in parts:
        if result is None:
            shape = (*part.shape[:4], side)
            result = torch.empty(shape, dtype=part.dtype, device=part.device, memory_format=torch.channels_last_3d)
        result[..., low : low + part.shape[4]] = part
        low += part.shape[4]
    assert result is not None
    return result
