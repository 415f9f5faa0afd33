"""Training: it learns, repeats to the bit, stops, goes on, and keeps the best epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from brains import SCHEMES, prepared
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from TransferSegLib import training as module
from TransferSegLib.checkpoint import load_checkpoint
from TransferSegLib.distributed import World
from TransferSegLib.errors import Cancelled, InputError, ResourceError
from TransferSegLib.events import CancelToken, Event, Metric, Progress
from TransferSegLib.labels import GLIOMA
from TransferSegLib.losses import (
    SoftConfusion,
    class_weights,
    decayed_weights,
    soft_confusion,
    soft_dice_loss,
    weighted_cross_entropy,
)
from TransferSegLib.network import UNet
from TransferSegLib.preprocess import Prepared
from TransferSegLib.recipe import Recipe
from TransferSegLib.training import Training, learning_rate, train

CASES = [prepared(seed) for seed in (1, 2, 3)]
VALIDATION = [prepared(4)]


def recipe(**changes: Any) -> Recipe:
    """Small and plain; nothing here relies on a default."""
    plain = {
        "epochs": 3,
        "learning_rate": 0.01,
        "warmup": 0.0,
        "weight_decay": 0.0,
        "batch_size": 1,
        "patch": 0,
        "patches_per_case": 1,
        "augmentation": (),
        "class_weight_decay": 0.9,
        "class_weight_form": "to-one",
        "dice_weight": 1.0,
        "settle": 1.0,
        "patience": 0,
        "precision": "float32",
        "device": "cpu",
        "seed": 0,
    }
    return Recipe(**{**plain, **changes})


def make_network(classes: int = 4, filters: int = 2) -> UNet:
    torch.manual_seed(0)
    return UNet(4, classes, filters)


def run(
    chosen: Recipe | None = None,
    cases: Sequence[Prepared] = CASES,
    validation: Sequence[Prepared] = VALIDATION,
    network: UNet | None = None,
    **options: Any,
) -> Training:
    return train(network or make_network(), cases, validation, GLIOMA, chosen or recipe(), **options)


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def norms(network: UNet) -> list[nn.BatchNorm3d]:
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm3d)]


@contextmanager
def gradients() -> Iterator[list[list[Tensor]]]:
    """The gradients of every parameter before each step of an optimizer."""
    seen: list[list[Tensor]] = []

    def record(optimizer: torch.optim.Optimizer, *_: object) -> None:
        seen.append([p.grad.clone() for group in optimizer.param_groups for p in group["params"]])

    handle = register_optimizer_step_pre_hook(record)
    yield seen
    handle.remove()


def stop_after(epoch: int) -> dict[str, Any]:
    """Options that stop a training in the first step after ``epoch``."""
    cancel = CancelToken()

    def listen(event: Event) -> None:
        if isinstance(event, Metric) and event.step == epoch:
            cancel.cancel()

    return {"cancel": cancel, "on_event": listen}


def scripted(monkeypatch: pytest.MonkeyPatch, rows: Sequence[Mapping[str, float]]) -> None:
    """Let the validation find these values, epoch by epoch."""
    script = iter(rows)
    monkeypatch.setattr(module, "validate", lambda *_: dict(next(script)))


def dices(*sums: float) -> list[dict[str, float]]:
    """Rows whose Dice add up to ``sums``, shared unevenly between the regions."""
    return [{"dice_whole": 0.5 * s, "dice_core": 0.3 * s, "dice_enhancing": 0.2 * s} for s in sums]


# It learns


@pytest.mark.parametrize("disease", ["glioma", "lesion"])
def test_it_overfits_a_tiny_case(disease: str) -> None:
    scheme, case = SCHEMES[disease], prepared(1, disease)
    chosen = recipe(epochs=40, learning_rate=0.03, warmup=0.05, settle=0.5)
    result = train(make_network(len(scheme), 4), [case], [case], scheme, chosen)
    losses = [row["loss"] for row in result.history]
    assert np.mean(losses[-3:]) < 0.5 * np.mean(losses[:3])
    best = result.history[result.best_epoch - 1]
    for region in scheme.regions:
        assert best[f"dice_{region}"] > 0.8, region
    if disease == "lesion":
        assert best["pr_auc"] > 0.9


def test_the_history_has_a_row_for_each_epoch() -> None:
    result = run()
    assert [row["epoch"] for row in result.history] == [1, 2, 3]
    assert list(result.history[0]) == [
        "epoch",
        "loss",
        "learning_rate",
        "dice_whole",
        "dice_core",
        "dice_enhancing",
        "seconds",
    ]
    assert all(math.isfinite(value) for row in result.history for value in row.values())
    assert not result.cancelled


def test_every_step_and_every_epoch_is_told() -> None:
    events: list[Event] = []
    result = run(recipe(epochs=2, batch_size=2), on_event=events.append)
    steps = [event for event in events if isinstance(event, Progress)]
    assert [(event.stage, event.step, event.of) for event in steps] == [("train", n, 4) for n in (1, 2, 3, 4)]
    assert [event.detail for event in steps] == ["epoch 1/2"] * 2 + ["epoch 2/2"] * 2
    assert all(event.eta_s is not None for event in steps)
    rows = [event for event in events if isinstance(event, Metric)]
    assert [event.step for event in rows] == [1, 2]
    for event, row in zip(rows, result.history, strict=True):
        assert {key: value for key, value in row.items() if key not in ("epoch", "seconds")} == event.values


@pytest.mark.parametrize(("batch_size", "samples"), [(2, 4), (8, 8)])
def test_every_case_is_seen_once_an_epoch_and_the_last_batch_is_filled_up(
    monkeypatch: pytest.MonkeyPatch, batch_size: int, samples: int
) -> None:
    seen: list[tuple[int, int]] = []
    sample = module._Trainer._sample

    def record(self: Any, case: int, place: tuple[int, int]) -> Any:
        seen.append((case, place[0]))
        return sample(self, case, place)

    monkeypatch.setattr(module._Trainer, "_sample", record)
    run(recipe(epochs=2, batch_size=batch_size))
    for epoch in (0, 1):
        cases = [case for case, when in seen if when == epoch]
        assert len(cases) == samples
        assert set(cases[:3]) == {0, 1, 2}
        assert cases[3:] == cases[:-3]


# The same again, to the bit


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"augmentation": ("flip", "affine", "gamma", "shift"), "batch_size": 2, "settle": 0.5},
        {"patch": 16, "patches_per_case": 2, "precision": "bfloat16", "weight_decay": 0.1, "class_weight_decay": 0.0},
    ],
    ids=["plain", "augmented", "patches in bfloat16"],
)
def test_two_equal_runs_are_equal_to_the_bit_and_another_seed_differs(changes: dict[str, Any]) -> None:
    cases = [prepared(seed, shape=(24, 16, 16)) for seed in (1, 2, 3)]
    first = run(recipe(**changes), cases)
    torch.manual_seed(99)
    np.random.seed(99)
    second, other = run(recipe(**changes), cases), run(recipe(**changes, seed=1), cases)
    assert same(first.weights, second.weights)
    assert [{**row, "seconds": 0} for row in first.history] == [{**row, "seconds": 0} for row in second.history]
    assert not same(first.weights, other.weights)


def test_the_random_numbers_and_settings_of_the_caller_are_left_alone() -> None:
    network = make_network()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    run(recipe(augmentation=("flip", "noise")), network=network)
    assert torch.rand(1) == expected
    assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(Cancelled):
        run(**stop_before_the_first_step())
    assert not torch.are_deterministic_algorithms_enabled()


def stop_before_the_first_step() -> dict[str, Any]:
    cancel = CancelToken()
    cancel.cancel()
    return {"cancel": cancel}


# The best epoch


def test_the_best_epoch_has_the_highest_sum_of_dice(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, dices(0.5, 2.1, 2.0))
    network = make_network()
    weights = []
    result = run(
        network=network, on_event=lambda event: weights.append(copy_of(network)) if isinstance(event, Metric) else None
    )
    assert result.best_epoch == 2
    assert same(result.weights, weights[1])
    assert not same(result.weights, weights[2])


def copy_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def test_each_best_epoch_is_shown_as_it_is_once_it_is_safe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    scripted(monkeypatch, dices(0.5, 2.1, 2.0, 2.2))
    seen: list[tuple[int, dict[str, Tensor]]] = []

    def show(network: UNet, validation: Sequence[Prepared], epoch: int) -> None:
        assert validation is VALIDATION
        saved = load_checkpoint(tmp_path / "checkpoint")
        assert saved.progress["best_epoch"] == saved.progress["epoch"] == epoch
        assert same(saved.tensors["best"], copy_of(network))
        seen.append((epoch, copy_of(network)))

    result = run(recipe(epochs=4), checkpoint=tmp_path / "checkpoint", on_best=show)
    assert [epoch for epoch, _ in seen] == [1, 2, 4]
    assert same(seen[-1][1], result.weights)


def test_only_the_first_of_several_processes_shows_its_best_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, dices(0.5, 2.1))
    monkeypatch.setattr(World, "sum_", lambda *_: None)
    seen: list[object] = []
    run(recipe(epochs=2, batch_size=2), world=World(1, 2), on_best=lambda *told: seen.append(told))
    assert seen == []


def test_one_region_alone_does_not_make_an_epoch_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"dice_whole": 0.99, "dice_core": 0.1, "dice_enhancing": 0.1},
        {"dice_whole": 0.5, "dice_core": 0.5, "dice_enhancing": 0.5},
        {"dice_whole": 0.1, "dice_core": 0.1, "dice_enhancing": 0.99},
    ]
    scripted(monkeypatch, rows)
    assert run().best_epoch == 2


def test_with_lesions_the_best_epoch_has_the_highest_pr_auc(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, [{"dice_lesion": d, "pr_auc": p} for d, p in ((0.9, 0.3), (0.1, 0.8), (0.9, 0.7))])
    case = prepared(1, "lesion")
    assert train(make_network(2), [case], [case], SCHEMES["lesion"], recipe()).best_epoch == 2


def test_of_equal_epochs_the_first_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, dices(1.0, 1.5, 1.5))
    assert run().best_epoch == 2


def test_without_validation_the_last_epoch_is_kept() -> None:
    network = make_network()
    result = run(validation=[], network=network)
    assert result.best_epoch == 3
    assert same(result.weights, copy_of(network))
    assert set(result.history[0]) == {"epoch", "loss", "learning_rate", "seconds"}


def test_validation_cases_without_a_lesion_cannot_choose_so_that_the_last_epoch_is_kept() -> None:
    case = prepared(1, "lesion")
    assert case.label is not None
    healthy = replace(case, label=np.zeros_like(case.label))
    result = train(make_network(2), [case], [healthy], SCHEMES["lesion"], recipe(patience=1))
    assert [math.isnan(row["pr_auc"]) for row in result.history] == [True] * 3
    assert result.best_epoch == 3


def test_it_stops_when_patience_is_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, dices(0.5, 1.0, 0.9, 1.1, 1.0, 1.1, 0.3, 2.5))
    result = run(recipe(epochs=20, patience=3))
    assert [row["epoch"] for row in result.history] == [1, 2, 3, 4, 5, 6, 7]
    assert result.best_epoch == 4
    assert not result.cancelled


def test_patience_needs_validation_cases() -> None:
    assert len(run(recipe(epochs=4, patience=1), validation=[]).history) == 4


# Stopping


def test_a_stop_before_the_first_epoch_leaves_nothing(tmp_path: Any) -> None:
    with pytest.raises(Cancelled):
        run(checkpoint=tmp_path / "run" / "checkpoint", **stop_before_the_first_step())
    assert list(tmp_path.iterdir()) == []


def test_a_stop_within_the_first_epoch_is_too_early_too() -> None:
    cancel = CancelToken()
    events: list[Event] = []

    def listen(event: Event) -> None:
        events.append(event)
        cancel.cancel()

    with pytest.raises(Cancelled):
        run(cancel=cancel, on_event=listen)
    assert len(events) == 1  # it stops at the next step


def test_a_stop_later_keeps_the_best_weights_until_then(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, dices(2.0, 1.0, 0.5))
    whole = run(recipe(epochs=3))
    scripted(monkeypatch, dices(2.0, 1.0, 0.5))
    stopped = run(recipe(epochs=3), **stop_after(2))
    assert stopped.cancelled
    assert (stopped.best_epoch, len(stopped.history)) == (1, 2)
    assert same(stopped.weights, whole.weights)


# The loss and its weights


def test_class_weights_take_their_course_over_the_training_however_long_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[Tensor] = []

    def record(confusion: SoftConfusion, weights: Tensor) -> Tensor:
        used.append(weights)
        return weighted_cross_entropy(confusion, weights)

    monkeypatch.setattr(module, "weighted_cross_entropy", record)
    counts = sum(np.bincount(case.label[case.brain], minlength=4) for case in CASES)  # type: ignore[index]
    start = class_weights(counts)
    for epochs, form in ((1, "to-one"), (4, "to-one"), (4, "plus-one")):
        used.clear()
        run(recipe(epochs=epochs, class_weight_decay=0.97, class_weight_form=form))
        assert len(used) == 3 * epochs
        for step, weights in enumerate(used):
            assert torch.equal(weights, decayed_weights(start, 0.97, 100 * step / len(used), form))
    used.clear()
    run(recipe(class_weight_decay=0.0))
    assert all(torch.equal(weights, torch.ones(4)) for weights in used)


@pytest.mark.parametrize("dice_weight", [0.0, 0.5])
def test_the_loss_is_the_weighted_cross_entropy_over_the_brain_plus_the_dice_loss(dice_weight: float) -> None:
    case = CASES[0]
    network = make_network()
    label, brain = torch.from_numpy(case.label).long(), torch.from_numpy(case.brain)  # type: ignore[arg-type]
    weights = class_weights(np.bincount(case.label[case.brain]))  # type: ignore[index]
    with torch.no_grad():
        logits = network.train()(torch.from_numpy(case.image)[None])[0]
    confusion = soft_confusion(logits, label, brain)
    expected = weighted_cross_entropy(confusion, weights)
    expected = expected + dice_weight * soft_dice_loss(confusion, [(1, 2, 3), (1, 3), (3,)])
    result = run(recipe(epochs=1, dice_weight=dice_weight), [case], [])
    assert result.history[0]["loss"] == pytest.approx(float(expected), rel=1e-5)


def test_the_gradient_of_a_batch_is_the_mean_of_those_of_its_samples() -> None:
    one_step = recipe(epochs=1, class_weight_decay=0.0)
    with gradients() as seen:
        for cases in ([CASES[0]], [CASES[1]]):
            run(one_step, cases, [])
        run(replace(one_step, batch_size=2), CASES[:2], [])
    first, second, both = seen
    for a, b, together in zip(first, second, both, strict=True):
        torch.testing.assert_close(together, (a + b) / 2, rtol=1e-4, atol=1e-7)


def test_the_learning_rate_rises_and_then_falls_to_0_along_a_cosine() -> None:
    chosen = recipe(learning_rate=0.01, warmup=0.1)
    rates = [learning_rate(chosen, step, 200) for step in range(200)]
    assert all(a < b for a, b in pairwise(rates[:21]))
    assert rates[0] == pytest.approx(0.01 / 21)
    assert max(rates) == rates[20] == 0.01
    assert all(a > b for a, b in pairwise(rates[20:]))
    assert rates[110] == pytest.approx(0.005)
    assert 0 < rates[-1] < 1e-5
    assert learning_rate(recipe(warmup=0.0), 0, 10) == recipe().learning_rate
    assert learning_rate(recipe(warmup=0.5, learning_rate=1.0), 0, 1) > 0


def test_the_optimizer_uses_it() -> None:
    chosen = recipe(epochs=4, warmup=0.3)
    expected = [learning_rate(chosen, 3 * epoch + 2, 12) for epoch in range(4)]
    assert [row["learning_rate"] for row in run(chosen).history] == expected


# What cannot be done


def test_a_class_that_no_training_case_has_is_named() -> None:
    case = CASES[0]
    assert case.label is not None
    without = replace(case, label=np.where(case.label == 3, 2, case.label).astype(np.uint8))
    with pytest.raises(InputError, match="No training case has a voxel of enhancing"):
        run(cases=[without])
    run(recipe(epochs=1), [without, CASES[1]])


def test_a_case_without_a_label_map_is_named() -> None:
    with pytest.raises(InputError, match="'case 1' has no reference label map"):
        run(cases=[replace(CASES[0], label=None)])


def test_a_full_memory_is_told_with_what_to_do() -> None:
    network = make_network()

    def fail(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    network.bottom.register_forward_pre_hook(fail)
    with pytest.raises(ResourceError, match=r"memory is full.*--patch"):
        run(network=network)


def test_a_bug_is_not_mistaken_for_a_full_memory() -> None:
    network = make_network()

    def fail(*_: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    network.bottom.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        run(network=network)


def test_a_training_that_diverges_says_so() -> None:
    network = make_network()

    def spoil(event: Event) -> None:
        if isinstance(event, Metric) and event.step == 2:
            with torch.no_grad():
                network.head.bias.fill_(math.nan)

    with pytest.raises(InputError, match=r"diverged: its loss is no number any more in epoch 3.*--learning-rate"):
        run(network=network, on_event=spoil)


def test_a_patch_without_brain_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(image: Tensor, brain: Tensor, label: Tensor, *_: object) -> tuple[Tensor, ...]:
        return 0 * image, torch.zeros_like(brain), label

    monkeypatch.setattr(module, "augment", lose)
    result = run(recipe(epochs=1, augmentation=("affine",)), validation=[])
    assert result.history[0]["loss"] == 0
    assert all(torch.isfinite(tensor).all() for tensor in result.weights.values())


def test_patches_fit_a_network_with_more_steps() -> None:
    torch.manual_seed(0)
    deep = UNet(4, 4, base_filters=1, steps=5)
    result = run(recipe(epochs=1, patch=24), [prepared(1, shape=(32, 32, 32))], [], deep)
    assert math.isfinite(result.history[0]["loss"])
