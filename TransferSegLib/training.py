"""Training: the loop over epochs, its checkpoints, and how to stop and go on."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .allocator import keep_memory
from .augment import augment
from .checkpoint import Checkpoint, load_checkpoint, optimizer_tensors, restore_optimizer, save_checkpoint
from .device import autocast, channels_last, choose_device, choose_precision, memory_errors, to_input
from .distributed import World
from .errors import Cancelled, InputError
from .events import CancelToken, Clock, Metric, OnEvent, Progress, ignore
from .labels import LabelScheme
from .losses import class_weights, decayed_weights, soft_confusion, soft_dice_loss, weighted_cross_entropy
from .network import FixableBatchNorm3d, UNet
from .preprocess import Prepared
from .recipe import Recipe
from .sampling import Sample, draw_sample, epoch_order
from .validation import score, validate

# Told of each best epoch: the network as it is then, the validation cases, and the epoch, counted from 1.
OnBest = Callable[[UNet, Sequence[Prepared], int], None]

# The course of the class weights is that of so many epochs, however many there are: with d per epoch, a short training
# would end with weights that make the network call far too much (Docs/models.md).
_COURSE = 100

OUT_OF_MEMORY = "Train on smaller patches (--patch 96), or on a coarser grid (--spacing 2)."


@dataclass(frozen=True)
class Training:
    """What a training gave.

    Attributes
    ----------
    weights : of the best epoch.
    best_epoch : counted from 1.
    history : a row for each epoch: loss, learning rate, seconds, validation metrics, score.
    cancelled : whether it was stopped before its end; the weights are then the best until then.
    """

    weights: dict[str, Tensor]
    best_epoch: int
    history: tuple[Mapping[str, float], ...]
    cancelled: bool


@dataclass
class _State:
    """All that changes from epoch to epoch."""

    epoch: int = 0
    best_epoch: int = 0
    best_score: float = -math.inf
    best: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)


@keep_memory()
def train(
    network: UNet,
    training: Sequence[Prepared],
    validation: Sequence[Prepared],
    scheme: LabelScheme,
    recipe: Recipe,
    checkpoint: Path | None = None,
    resume: bool = False,
    on_event: OnEvent = ignore,
    cancel: CancelToken | None = None,
    world: World | None = None,
    identity: Mapping[str, Any] | None = None,
    on_best: OnBest | None = None,
) -> Training:
    """Train ``network`` in place; layers that are frozen stay as they are.

    The best epoch is the one with the highest score on the validation cases: the sum of the Dice over the regions, or
    the PR-AUC when there is one foreground class (paper, section 3.3). Without validation cases it is the last one.

    Everything random in epoch e follows from (seed, e), so that a run that goes on from ``checkpoint`` ends with the
    same weights, bit for bit, as one that was never stopped.

    Parameters
    ----------
    checkpoint : written after every epoch; None: no checkpoint.
    resume : go on from ``checkpoint``.
    world : the processes that train together, see :func:`distributed.join_world`; None: this one.
    identity : what else must be the same for a run to go on, for instance its source; JSON data.
    on_best : called after each epoch that is the best so far, once it is in the checkpoint; it must leave the weights
        as they are.

    Raises
    ------
    InputError : a class has no voxel in the training cases, the checkpoint belongs to another run, or the training
        diverged.
    Cancelled : stopped before the first epoch was finished.
    ResourceError : memory or disk ran out.
    """
    device = choose_device(recipe.device)
    trainer = _Trainer(
        network.to(device),
        training,
        validation,
        scheme,
        recipe,
        device,
        world or World(),
        on_event,
        identity or {},
        on_best or _nothing,
    )
    with memory_errors(OUT_OF_MEMORY):
        return trainer.run(checkpoint, resume, cancel or CancelToken())


class _Trainer:
    def __init__(
        self,
        network: UNet,
        training: Sequence[Prepared],
        validation: Sequence[Prepared],
        scheme: LabelScheme,
        recipe: Recipe,
        device: torch.device,
        world: World,
        on_event: OnEvent,
        identity: Mapping[str, Any],
        on_best: OnBest,
    ) -> None:
        channels_last(network)
        self.network = network
        self.training, self.validation = training, validation
        self.scheme, self.recipe, self.device = scheme, recipe, device
        self.precision = choose_precision(recipe.precision, device)
        self.world = world
        self.on_event: OnEvent = on_event if world.leads else ignore
        self.on_best: OnBest = on_best if world.leads else _nothing
        self.identity = identity
        self.names: dict[Tensor, str] = {p: name for name, p in network.named_parameters() if p.requires_grad}
        self.optimizer = torch.optim.AdamW(
            list(self.names), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, foreach=True
        )
        self.regions = [scheme.region_labels(region) for region in scheme.regions]
        self.class_weights = _class_weights(training, scheme)
        self.steps = recipe.steps_per_epoch(len(training))
        self.settle_epoch = round(recipe.settle * recipe.epochs)
        self.state = _State()

    def run(self, checkpoint: Path | None, resume: bool, cancel: CancelToken) -> Training:
        # Exact repeats on the CPU; on a GPU some operations have no deterministic form.
        before = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(True, warn_only=self.device.type != "cpu")
        try:
            if resume and checkpoint is not None:
                self._restore(load_checkpoint(checkpoint))
            clock = Clock(self.recipe.epochs * self.steps, self.state.epoch * self.steps)
            while self.state.epoch < self.recipe.epochs and not self._out_of_patience():
                self._epoch(clock, cancel)
                if checkpoint is not None and self.world.leads:
                    save_checkpoint(self._checkpoint(), checkpoint)
                if self.state.best_epoch == self.state.epoch:
                    self.on_best(self.network, self.validation, self.state.epoch)
        except Cancelled:
            if not self.state.best:
                raise
            return self._result(cancelled=True)
        finally:
            torch.use_deterministic_algorithms(before)
        return self._result(cancelled=False)

    def _epoch(self, clock: Clock, cancel: CancelToken) -> None:
        epoch, start = self.state.epoch, time.monotonic()
        self._set_norms(epoch)
        self.network.train()
        losses = []
        for step, samples in enumerate(self._batches(epoch)):
            done = epoch * self.steps + step
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(self.recipe, done, self.recipe.epochs * self.steps)
            losses.append(self._step(samples, self._weights(done), cancel))
            self.on_event(
                Progress(
                    "train",
                    done + 1,
                    self.recipe.epochs * self.steps,
                    clock.eta_s(done + 1),
                    f"epoch {epoch + 1}/{self.recipe.epochs}",
                )
            )
        values = {"loss": float(np.mean(losses)), "learning_rate": self.optimizer.param_groups[0]["lr"]}
        values |= validate(self.network, self.validation, self.scheme, self.device, self.precision)
        # Without validation cases, or when none of them has a lesion, there is no score: the last epoch is taken.
        reached = score(values, self.scheme) if self.validation else math.nan
        if math.isnan(reached) or reached > self.state.best_score:
            self.state.best_score, self.state.best_epoch = reached, epoch + 1
            self.state.best = {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}
        self.state.epoch = epoch + 1
        self.on_event(Metric("train", epoch + 1, values))
        self.state.history.append({"epoch": epoch + 1, **values, "seconds": round(time.monotonic() - start, 3)})

    def _step(self, samples: Sequence[Future[Sample]], weights: Tensor, cancel: CancelToken) -> float:
        """One update of the weights from one batch, a sample at a time."""
        self.optimizer.zero_grad(set_to_none=False)
        norms = [module for module in self.network.modules() if isinstance(module, FixableBatchNorm3d)]
        momenta = [norm.momentum or 0.0 for norm in norms]
        total = torch.zeros((), dtype=torch.float64)
        batch = len(samples) * self.world.size
        for index, future in enumerate(samples):
            for norm, momentum in zip(norms, momenta, strict=True):
                # After the batch each sample has had the same share of the momentum, whatever its place in it.
                share = momentum / len(samples)
                norm.momentum = share / (1 - (len(samples) - 1 - index) * share)
            loss = self._loss(future.result(), weights) / batch
            torch.autograd.backward(loss)
            total += loss.detach().cpu().double()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        stop = torch.tensor(float(cancel.cancelled))
        self._share_step(norms, [total, stop])
        if stop:
            raise Cancelled()
        if not math.isfinite(total):
            raise InputError(
                f"The training diverged: its loss is no number any more in epoch {self.state.epoch + 1}.",
                "Start again with a smaller --learning-rate.",
            )
        self.optimizer.step()
        return float(total)

    def _share_step(self, norms: Sequence[FixableBatchNorm3d], extra: Sequence[Tensor]) -> None:
        """Sum gradients over the processes, average the statistics that move; all stop if one was asked to."""
        moving = [norm for norm in norms if norm.training and norm.statistics == "running"]
        statistics = [t for norm in moving for t in (norm.running_mean, norm.running_var) if t is not None]
        if self.world.size > 1:
            for tensor in statistics:
                tensor.div_(self.world.size)
            gradients = [parameter.grad for parameter in self.names if parameter.grad is not None]
            self.world.sum_([*gradients, *statistics, *extra])

    def _loss(self, sample: Sample, weights: Tensor) -> Tensor:
        image = to_input(sample.image, self.device)
        label, brain = sample.label.to(self.device), sample.brain.to(self.device)
        with autocast(self.device, self.precision):
            logits = self.network(image)[0]
        confusion = soft_confusion(logits, label, brain)
        loss = weighted_cross_entropy(confusion, weights)
        if self.recipe.dice_weight:
            loss = loss + self.recipe.dice_weight * soft_dice_loss(confusion, self.regions)
        return loss

    def _batches(self, epoch: int) -> Iterator[list[Future[Sample]]]:
        """This process's samples of each step; the next ones are made in another thread meanwhile."""
        order = epoch_order(len(self.training), self.recipe.patches_per_case, self.recipe.seed, epoch)
        # The last batch is filled up from the front, again and again, so that every step has as many samples.
        order = list(islice(cycle(order), self.steps * self.recipe.batch_size))
        batches = [
            self.world.share(range(first, first + self.recipe.batch_size))
            for first in range(0, len(order), self.recipe.batch_size)
        ]
        with ThreadPoolExecutor(1) as maker:
            ahead: list[list[Future[Sample]]] = []
            for number in range(len(batches) + 1):
                if number < len(batches):
                    ahead.append([maker.submit(self._sample, order[at], (epoch, at)) for at in batches[number]])
                if number > 0:
                    try:
                        yield ahead.pop(0)
                    except GeneratorExit:
                        maker.shutdown(cancel_futures=True)
                        raise

    def _sample(self, case: int, place: tuple[int, int]) -> Sample:
        seed = (self.recipe.seed, *place)
        drawn = draw_sample(self.training[case], self.recipe.patch, self.network.multiple, (*seed, 0))
        if not self.recipe.augmentation:
            return drawn
        return Sample(*augment(drawn.image, drawn.brain, drawn.label, self.recipe.augmentation, (*seed, 1)))

    def _weights(self, step: int) -> Tensor:
        """Class weights at ``step`` of the whole training."""
        recipe = self.recipe
        if recipe.class_weight_decay == 0:
            return torch.ones_like(self.class_weights).to(self.device)
        epoch = _COURSE * step / (recipe.epochs * self.steps)
        falling = decayed_weights(self.class_weights, recipe.class_weight_decay, epoch, recipe.class_weight_form)
        return falling.to(self.device)

    def _set_norms(self, epoch: int) -> None:
        """From ``settle_epoch`` on batch norm uses its running statistics in training too, as it does afterwards.

        With one sample a batch the statistics of a batch are those of one brain: a network that was only ever trained
        so fails once it has to use the mean over all brains.
        """
        if epoch < self.settle_epoch:
            return
        norms = [m for m in self.network.modules() if isinstance(m, FixableBatchNorm3d) and not m.fixed]
        norms = [norm for norm in norms if norm.statistics == "running"]
        if epoch == self.settle_epoch and norms:
            momenta = [norm.momentum for norm in norms]
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # the plain mean over all samples that follow
            self.network.train()
            with torch.no_grad(), autocast(self.device, self.precision):
                for index, case in enumerate(self.training):
                    seed = (self.recipe.seed, epoch, index, 2)
                    sample = draw_sample(case, self.recipe.patch, self.network.multiple, seed)
                    self.network(to_input(sample.image, self.device))
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
        for norm in norms:
            norm.fixed = True

    def _out_of_patience(self) -> bool:
        waited = self.state.epoch - self.state.best_epoch
        return bool(self.validation) and 0 < self.recipe.patience <= waited

    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(
            {
                "network": self.network.state_dict(),
                "best": self.state.best,
                "optimizer": optimizer_tensors(self.optimizer, self.names),
            },
            {
                "epoch": self.state.epoch,
                "best_epoch": self.state.best_epoch,
                "best_score": self.state.best_score,
                "history": self.state.history,
                "run": self._identity(),
            },
        )

    def _restore(self, checkpoint: Checkpoint) -> None:
        progress = checkpoint.progress
        if progress["run"] != self._identity():
            differs = [key for key, value in self._identity().items() if progress["run"].get(key) != value]
            raise InputError(
                f"The checkpoint belongs to another run: it differs in {', '.join(differs)}.",
                "Give the options of the run that was stopped, or start a new one without --resume.",
            )
        self.network.load_state_dict(dict(checkpoint.tensors["network"]))
        restore_optimizer(self.optimizer, self.names, checkpoint.tensors.get("optimizer", {}))
        self.state = _State(
            progress["epoch"],
            progress["best_epoch"],
            progress["best_score"],
            {name: tensor.to(self.device) for name, tensor in checkpoint.tensors["best"].items()},
            list(progress["history"]),
        )

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a run to go on; plain JSON data."""
        identity = {
            **asdict(self.recipe),
            **self.identity,
            "device": self.device.type,
            "precision": str(self.precision),
            "training cases": [case.name for case in self.training],
            "validation cases": [case.name for case in self.validation],
            "trained layers": sorted(self.names.values()),
        }
        plain: dict[str, Any] = json.loads(json.dumps(identity))
        return plain

    def _result(self, cancelled: bool) -> Training:
        weights = {name: tensor.cpu().contiguous() for name, tensor in self.state.best.items()}
        return Training(weights, self.state.best_epoch, tuple(self.state.history), cancelled)


def _nothing(network: UNet, validation: Sequence[Prepared], epoch: int) -> None:
    """For callers who do not want to know."""


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Learning rate at ``step`` of ``steps``: a linear rise over the warm-up, then half a cosine down to 0."""
    rise = recipe.warmup * steps
    if step < rise:
        return recipe.learning_rate * (step + 1) / (rise + 1)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1.0, steps - rise)))


def _class_weights(training: Sequence[Prepared], scheme: LabelScheme) -> Tensor:
    """Over the voxels that the loss counts: those of the brain."""
    counts = np.zeros(len(scheme), np.int64)
    for case in training:
        if case.label is None:
            raise InputError(f"Case '{case.name}' has no reference label map.", "Add it, or leave the case out.")
        counts += np.bincount(case.label[case.brain], minlength=len(scheme))
    return class_weights(counts, scheme.names)
