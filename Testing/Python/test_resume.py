"""A training that was stopped, cancelled or killed goes on and ends as if nothing had happened, bit for bit."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from brains import write_dataset
from test_training import CASES, make_network, recipe, run, same, stop_after
from torch import nn

from TransferSegLib import checkpoint as checkpoint_module
from TransferSegLib.checkpoint import load_checkpoint
from TransferSegLib.errors import InputError, ResourceError
from TransferSegLib.network import UNet
from TransferSegLib.runs import CHECKPOINT, pretrain
from TransferSegLib.strategies import find_strategy
from TransferSegLib.training import Training
from TransferSegLib.transfer import freeze

# All that carries over from epoch to epoch: the optimizer's memory, the schedule, statistics, augmentation, patches.
FULL = recipe(
    epochs=4,
    warmup=0.3,
    weight_decay=0.1,
    batch_size=2,
    augmentation=("flip", "affine", "gamma", "shift", "noise"),
    patch=16,
    patches_per_case=2,
    settle=0.5,
)


def without_seconds(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history]


def frozen_network(strategy: str) -> UNet:
    network = make_network()
    freeze(network, find_strategy(strategy))
    return network


@pytest.fixture(scope="module")
def whole() -> Training:
    return run(FULL)


# FULL settles before its third epoch: the stops lie before, right before and after that.
@pytest.mark.parametrize("stops", [(1,), (2,), (3,), (1, 2, 3)])
def test_a_run_that_goes_on_is_equal_to_one_that_was_never_stopped(
    tmp_path: Path, whole: Training, stops: tuple[int, ...]
) -> None:
    path = tmp_path / "checkpoint"
    for index, epoch in enumerate(stops):
        stopped = run(FULL, checkpoint=path, resume=index > 0, **stop_after(epoch))
        assert stopped.cancelled
        assert len(stopped.history) == epoch
    resumed = run(FULL, checkpoint=path, resume=True)
    assert not resumed.cancelled
    assert same(resumed.weights, whole.weights)
    assert resumed.best_epoch == whole.best_epoch
    assert without_seconds(resumed.history) == without_seconds(whole.history)


@pytest.mark.parametrize("strategy", ["last-three", "decoder", "norm"])
def test_so_is_one_with_frozen_layers(tmp_path: Path, strategy: str) -> None:
    chosen = replace(FULL, epochs=3, augmentation=(), settle=0.34)
    expected = run(chosen, network=frozen_network(strategy), validation=[])
    for epoch in (1, 2):
        run(
            chosen,
            network=frozen_network(strategy),
            validation=[],
            checkpoint=tmp_path / "a",
            resume=epoch > 1,
            **stop_after(epoch),
        )
    resumed = run(chosen, network=frozen_network(strategy), validation=[], checkpoint=tmp_path / "a", resume=True)
    assert same(resumed.weights, expected.weights)


def test_the_best_epoch_before_the_stop_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = iter([0.5, 3.0, 1.0, 2.0, 1.5])
    monkeypatch.setattr(
        "TransferSegLib.training.validate",
        lambda *_: {f"dice_{region}": next(script) / 3 if region == "whole" else 0.0 for region in _REGIONS},
    )
    chosen = recipe(epochs=5, patience=3)
    first = run(chosen, checkpoint=tmp_path / "a", **stop_after(3))
    resumed = run(chosen, checkpoint=tmp_path / "a", resume=True)
    assert (first.best_epoch, resumed.best_epoch) == (2, 2)
    assert same(first.weights, resumed.weights)
    assert len(resumed.history) == 5


_REGIONS = ("whole", "core", "enhancing")


def test_a_run_that_is_at_its_end_gives_its_result_again(tmp_path: Path, whole: Training) -> None:
    run(FULL, checkpoint=tmp_path / "a")
    content = (tmp_path / "a").read_bytes()
    again = run(FULL, checkpoint=tmp_path / "a", resume=True)
    assert same(again.weights, whole.weights)
    assert (tmp_path / "a").read_bytes() == content


def test_a_stop_right_after_going_on_gives_the_best_until_then(tmp_path: Path) -> None:
    first = run(checkpoint=tmp_path / "a", **stop_after(2))
    options = stop_after(0)
    options["cancel"].cancel()
    again = run(checkpoint=tmp_path / "a", resume=True, **options)
    assert again.cancelled
    assert same(again.weights, first.weights)


def test_progress_goes_on_where_it_was(tmp_path: Path) -> None:
    run(checkpoint=tmp_path / "a", **stop_after(2))
    events: list[Any] = []
    run(checkpoint=tmp_path / "a", resume=True, on_event=events.append)
    assert [event.step for event in events if event.name == "progress"] == [7, 8, 9]


# A checkpoint of another run


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"learning_rate": 0.02}, "learning_rate"),
        ({"seed": 5}, "seed"),
        ({"augmentation": ("flip",)}, "augmentation"),
        ({"epochs": 9, "dice_weight": 0.0}, "epochs, dice_weight"),
    ],
)
def test_another_recipe_is_refused_with_what_differs(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    run(checkpoint=tmp_path / "a", **stop_after(1))
    with pytest.raises(InputError) as caught:
        run(replace(recipe(), **changes), checkpoint=tmp_path / "a", resume=True)
    assert caught.value.cause == f"The checkpoint belongs to another run: it differs in {told}."
    assert "without --resume" in caught.value.remedy


def test_other_cases_layers_or_sources_are_refused(tmp_path: Path) -> None:
    identity = {"source": "a" * 64, "channels": ("t1", "t2")}
    run(checkpoint=tmp_path / "a", identity=identity, **stop_after(1))

    def told(**changes: Any) -> str:
        with pytest.raises(InputError) as caught:
            run(checkpoint=tmp_path / "a", resume=True, **{"identity": identity, **changes})
        return caught.value.cause.partition("differs in ")[2]

    assert told(cases=CASES[:2]) == "training cases."
    assert told(validation=CASES[:1]) == "validation cases."
    assert told(network=frozen_network("decoder")) == "trained layers."
    assert told(identity={**identity, "source": "b" * 64}) == "source."
    assert told(identity={**identity, "channels": ("t2", "t1")}) == "channels."
    assert run(checkpoint=tmp_path / "a", resume=True, identity=identity).history[0]["epoch"] == 1


def test_without_a_checkpoint_there_is_nothing_to_go_on_with(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no checkpoint"):
        run(checkpoint=tmp_path / "a", resume=True)


def test_without_resume_a_run_starts_anew(tmp_path: Path) -> None:
    run(checkpoint=tmp_path / "a", **stop_after(2))
    assert len(run(checkpoint=tmp_path / "a").history) == 3
    assert load_checkpoint(tmp_path / "a").progress["epoch"] == 3


def test_a_full_disk_stops_the_run_and_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = checkpoint_module.save_file
    written: list[object] = []

    def fill_up(tensors: Any, path: Path, metadata: Any) -> None:
        if len(written) == 2:
            Path(path).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        written.append(path)
        save(tensors, path, metadata)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_module, "save_file", fill_up)
        with pytest.raises(ResourceError, match="disk is full"):
            run(checkpoint=tmp_path / "a")
    assert load_checkpoint(tmp_path / "a").progress["epoch"] == 2
    assert same(run(checkpoint=tmp_path / "a", resume=True).weights, run().weights)


def test_statistics_that_were_settled_stay_so_after_going_on(tmp_path: Path) -> None:
    chosen = recipe(epochs=4, settle=0.25)
    run(chosen, checkpoint=tmp_path / "a", **stop_after(2))
    before = load_checkpoint(tmp_path / "a").tensors["network"]
    network = make_network()
    run(chosen, network=network, checkpoint=tmp_path / "a", resume=True)
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm3d):
            assert torch.equal(module.running_mean, before[f"{name}.running_mean"]), name  # type: ignore[arg-type]
            assert not torch.equal(module.weight, before[f"{name}.weight"]), name


# kill -9

_SCRIPT = """
import json, os, random, signal, sys, time
from pathlib import Path

import torch

torch.set_num_threads(1)
import monai.transforms  # once, before the forks: it takes seconds

from TransferSegLib.recipe import Recipe
from TransferSegLib.runs import CHECKPOINT, fine_tune

dataset, source, folder, recipe, seed = json.loads(sys.argv[1])
folder = Path(folder)
recipe = Recipe(**{**recipe, "augmentation": tuple(recipe["augmentation"])})


def written(out):
    '''Something else after each epoch.'''
    return (out / CHECKPOINT).stat().st_mtime_ns if (out / CHECKPOINT).exists() else None


def attempt(out, epochs=None, seconds=0):
    '''Start the run or go on with it in a process of its own; kill that some time after so many more epochs.'''
    last = written(out)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            resume = last is not None
            fine_tune(dataset, out, source, "decoder", recipe, spacing=4, cache=folder / "cache", resume=resume)
            status = 0
        finally:
            os._exit(status)
    ended = 0
    while epochs and not ended:
        time.sleep(0.002)
        ended, status = os.waitpid(child, os.WNOHANG)
        if written(out) != last:
            last, epochs = written(out), epochs - 1
    if not ended:
        time.sleep(seconds)
        if epochs is not None:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    if status not in (0, signal.SIGKILL):
        sys.exit(f"the run failed with {status}")
    return status


chance = random.Random(seed)
attempt(folder / "undisturbed")
# Once while it starts, then in the midst of things.
kills = [attempt(folder / "killed", epochs, chance.uniform(0, 0.3)) for epochs in (0, 1, 2, 2)]
attempt(folder / "killed")
print(sum(status == signal.SIGKILL for status in kills))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_weights(tmp_path: Path) -> None:
    write_dataset(tmp_path / "source data", 3, "lesion")
    write_dataset(tmp_path / "data", 3)
    options: dict[str, Any] = {"spacing": 4, "cache": tmp_path / "cache"}
    pretrain(tmp_path / "source data", tmp_path / "source", recipe(epochs=1), **options)
    chosen = recipe(epochs=10, batch_size=2, augmentation=("flip", "affine", "shift"), settle=0.5)
    seed = int.from_bytes(os.urandom(4), "little")
    names = ("epochs", "learning_rate", "batch_size", "augmentation", "settle", "precision", "device")
    arguments = [
        str(tmp_path / "data"),
        str(tmp_path / "source"),
        str(tmp_path),
        {name: getattr(chosen, name) for name in names},
        seed,
    ]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _SCRIPT, json.dumps(arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, (seed, done.stderr)
    assert int(done.stdout) >= 2, seed
    cards, histories = [], []
    for name in ("undisturbed", "killed"):
        cards.append(json.loads((tmp_path / name / "model" / "model.json").read_text("utf-8")))
        with open(tmp_path / name / "history.csv", newline="", encoding="utf-8") as file:
            histories.append(without_seconds(list(csv.DictReader(file))))
    assert cards[0]["weights_sha256"] == cards[1]["weights_sha256"], seed
    assert histories[0] == histories[1], seed
    assert len(histories[0]) == 10
    # No half-written file is left in the place of a whole one.
    assert load_checkpoint(tmp_path / "killed" / CHECKPOINT).progress["epoch"] == 10
