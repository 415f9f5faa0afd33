"""What a run will do, told before its first step: layers, cases, memory and time."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence

import numpy as np
import torch

from .device import autocast, channels_last, choose_device, choose_precision, memory_errors, to_input
from .errors import ResourceError
from .events import Message, Planned
from .losses import soft_confusion, soft_dice_loss
from .memory import BASE_BYTES, available_bytes, inference_bytes, training_bytes
from .network import UNet
from .plan import Plan
from .preprocess import Prepared
from .training import OUT_OF_MEMORY
from .transfer import TensorOrigin, describe


def announce(
    plan: Plan,
    network: UNet,
    origins: Sequence[TensorOrigin],
    training: Sequence[Prepared],
    validating: Sequence[Prepared] = (),
) -> tuple[Message, Planned]:
    """What will happen, before it does, for people and in numbers: roles, layers, memory and time.

    Raises
    ------
    ResourceError : the memory will not do.
    """
    sides = largest_sides(plan.recipe.patch, network.multiple, training)
    told = _estimate(plan, network, sides, validating)
    grid = "each image its own"
    if told.spacing_mm is not None:
        grid = " x ".join(f"{side:g}" for side in told.spacing_mm) + " mm"
    lines = (
        f"Strategy '{told.strategy}': {plan.strategy.explanation}",
        describe(network, origins),
        f"Cases: {told.cases['training']} to train, {told.cases['validation']} to choose the best epoch, "
        f"{told.cases['held_out']} held out.",
        f"Channels: {', '.join(plan.channels)}. Classes: {', '.join(plan.scheme.names)}. "
        f"Grid: {grid}, up to {' x '.join(map(str, sides))} voxels.",
        f"Device: {told.device}, {told.precision}. Memory: about {told.memory_gb:.1f} GB. "
        f"Time: about {duration(told.seconds)} for {told.epochs} epochs.",
    )
    return Message("plan", "\n".join(lines)), told


def largest_sides(patch: int, multiple: int, training: Sequence[Prepared]) -> tuple[int, ...]:
    """The sides of the largest image that a training step sees, which ``multiple`` divides."""
    shape = (patch,) * 3 if patch else max((case.brain.shape for case in training), key=np.prod)
    return tuple(-(-side // multiple) * multiple for side in shape)


def _estimate(plan: Plan, network: UNet, sides: tuple[int, ...], validating: Sequence[Prepared]) -> Planned:
    recipe, roles = plan.recipe, plan.roles
    cases = {"training": len(roles.training), "validation": len(roles.validation), "held_out": len(roles.held_out)}
    device = choose_device(recipe.device)
    precision = choose_precision(recipe.precision, device)
    name = str(precision).removeprefix("torch.")
    # A validation sees whole images, whatever the patch.
    voxels = [int(np.prod(largest_sides(0, network.multiple, [case]))) for case in validating]
    needs = {
        "Training": (training_bytes(int(np.prod(sides)), name, network.base_filters), OUT_OF_MEMORY),
        "The validation": (
            inference_bytes(max(voxels, default=0), network.base_filters, network.classes),
            "Work on a coarser grid (--spacing 2), or do without validation cases (--validation 0).",
        ),
    }
    what, (most, remedy) = max(needs.items(), key=lambda item: item[1][0])
    needed = most + BASE_BYTES
    if device.type == "cpu" and needed > available_bytes():
        raise ResourceError(
            f"{what} needs about {needed / 2**30:.1f} GB of memory, {available_bytes() / 2**30:.1f} GB are free.",
            remedy,
        )
    step_s, forward_s = trial_step(network, sides, device, precision)
    steps, passes = cases["training"] * recipe.patches_per_case, sum(voxels) / int(np.prod(sides))
    parameters = list(network.parameters())
    return Planned(
        plan.strategy.name,
        cases,
        sum(parameter.numel() for parameter in parameters),
        sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        round(needed / 2**30, 3),
        round(recipe.epochs * (steps * step_s + passes * forward_s), 1),
        str(device),
        name,
        plan.pipeline.spacing_mm,
        recipe.epochs,
    )


def trial_step(
    network: UNet, sides: tuple[int, ...], device: torch.device, precision: torch.dtype
) -> tuple[float, float]:
    """Seconds of one training step and of one forward pass, on a network that is thrown away."""
    trial = copy.deepcopy(network).to(device)
    channels_last(trial)
    image = to_input(torch.zeros(network.in_channels, *sides), device)
    label = torch.zeros(*sides, dtype=torch.int64, device=device)
    times = [0.0, 0.0]
    with memory_errors(OUT_OF_MEMORY):
        for _ in range(2):  # the first one warms up
            start = time.perf_counter()
            with autocast(device, precision):
                logits = trial(image)[0]
            loss = soft_dice_loss(soft_confusion(logits, label), [range(1, network.classes)])
            middle = time.perf_counter()
            torch.autograd.backward(loss)
            float(loss.detach())  # a GPU has worked through its queue when it gives the number
            times = [time.perf_counter() - start, middle - start]
            if times[0] > 5:
                break
    return times[0], times[1]


def duration(seconds: float) -> str:
    """In words: ``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
