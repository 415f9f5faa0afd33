"""Two processes do what one does with the same batch."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from brains import prepared, write_dataset
from test_training import make_network, recipe

from TransferSegLib.distributed import World, join_world
from TransferSegLib.errors import InputError
from TransferSegLib.labels import GLIOMA
from TransferSegLib.model import load_model
from TransferSegLib.recipe import Recipe
from TransferSegLib.runs import CHECKPOINT, fine_tune
from TransferSegLib.training import train

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")

# One process


def test_without_torchrun_the_world_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    world = join_world(3, CPU)
    assert (world, world.leads) == (World(0, 1), True)
    tensor = torch.arange(3.0)
    world.sum_([tensor])
    world.wait()
    world.close()
    assert tensor.tolist() == [0, 1, 2]


def test_only_the_first_process_leads() -> None:
    assert [World(rank, 3).leads for rank in range(3)] == [True, False, False]


def test_every_sample_of_a_batch_is_dealt_to_one_process() -> None:
    shares = [World(rank, 3).share(range(10, 16)) for rank in range(3)]
    assert [list(share) for share in shares] == [[10, 13], [11, 14], [12, 15]]


def test_a_batch_that_cannot_be_dealt_out_evenly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError) as caught:
        join_world(3, CPU)
    assert str(caught.value) == "A batch of 3 cannot be dealt to 2 processes. Set --batch-size to a multiple of 2."


# Two processes. Each keeps what it has at the end, and has a folder of its own to write into, should it write.

_SCRIPT = """
import json, os, sys
from pathlib import Path

sys.path.insert(0, sys.argv[2])
import numpy as np
from test_distributed import *

folder, rank = Path(sys.argv[1]), int(os.environ["RANK"])
out = folder / f"out {rank}"


class Impatient:
    '''Asks to stop at the seventh step, which is in the fourth epoch, and on the second process only.'''
    steps = 0

    @property
    def cancelled(self):
        self.steps += 1
        return rank == 1 and self.steps >= 7


world = join_world(2, CPU)
total = torch.tensor([float(rank + 1)]), torch.full((2, 2), rank + 0.5, dtype=torch.float64)
world.sum_(total)
plain = train_here(4, world=world, checkpoint=out / "plain")
stopped = train_here(4, world=world, cancel=Impatient())
events = []
result = tune_here(folder, out, on_event=lambda event: events.append(event.name))
np.savez(folder / f"plain {rank}", **plain.weights)
np.savez(folder / f"stopped {rank}", **stopped.weights)
np.savez(folder / f"tuned {rank}", **result.model.weights)
(folder / f"report {rank}.json").write_text(json.dumps({
    "sums": [tensor.tolist() for tensor in total],
    "stopped": [stopped.cancelled, len(stopped.history)],
    "losses": [row["loss"] for row in plain.history],
    "events": sorted(set(events)),
}))
"""


def batches_of_two(**changes: Any) -> Recipe:
    # A small learning rate: Adam makes a step of its size of a rounding error where a gradient is 0.
    return recipe(**{"batch_size": 2, "learning_rate": 1e-3, "settle": 1.0, **changes})


def train_here(epochs: int, **options: Any) -> Any:
    cases = [prepared(seed) for seed in range(4)]
    return train(make_network(), cases, cases[:1], GLIOMA, batches_of_two(epochs=epochs, settle=0.5), **options)


def tune_here(folder: Path, out: Path, **options: Any) -> Any:
    chosen = batches_of_two(epochs=2, augmentation=("flip",))
    return fine_tune(folder / "data", out, None, "scratch", chosen, spacing=4, cache=folder / "cache", **options)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what two processes made."""
    folder = tmp_path_factory.mktemp("two")
    write_dataset(folder / "data", 5)
    (folder / "script.py").write_text(_SCRIPT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-addr", "127.0.0.1", "--master-port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
    if sys.platform == "linux":
        environment["GLOO_SOCKET_IFNAME"] = "lo"
    done = subprocess.run(
        [*command, folder / "script.py", folder, Path(__file__).parent],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return folder


def weights(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    with np.load(path) as file:
        return dict(file)


def report(folder: Path, rank: int) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / f"report {rank}.json").read_text())
    return loaded


def assert_close(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        if "num_batches" not in name:  # each process counts its own
            np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-6, err_msg=name)


def test_sums_reach_every_process_in_their_own_types(two: Path) -> None:
    assert report(two, 0)["sums"] == report(two, 1)["sums"] == [[3.0], [[2.0, 2.0], [2.0, 2.0]]]


@pytest.mark.parametrize("what", ["plain", "stopped", "tuned"])
def test_all_processes_hold_the_same_weights_to_the_bit(two: Path, what: str) -> None:
    first, second = (weights(two / f"{what} {rank}.npz") for rank in (0, 1))
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name, strict=True)


def test_two_processes_train_what_one_does_with_the_same_batch(two: Path) -> None:
    alone = train_here(4)
    assert_close(weights(two / "plain 0.npz"), {name: tensor.numpy() for name, tensor in alone.weights.items()})
    losses = report(two, 0)["losses"]
    assert losses == report(two, 1)["losses"]
    assert losses == pytest.approx([row["loss"] for row in alone.history], rel=1e-5)


def test_so_does_a_whole_run_with_augmentation(two: Path) -> None:
    alone = tune_here(two, two / "alone")
    assert_close(weights(two / "tuned 0.npz"), dict(alone.model.weights))


def test_when_one_process_is_asked_to_stop_all_stop_at_the_same_step(two: Path) -> None:
    assert report(two, 0)["stopped"] == report(two, 1)["stopped"] == [True, 3]


def test_only_the_first_process_writes_and_reports(two: Path) -> None:
    written = {path.relative_to(two / "out 0").parts[0] for path in (two / "out 0").rglob("*")}
    assert written == {"plain", CHECKPOINT, "model", "history.csv"}
    assert not (two / "out 1").exists()
    assert "progress" in report(two, 0)["events"]
    assert report(two, 1)["events"] == []
    model = load_model(two / "out 0" / "model")
    assert_close(weights(two / "tuned 1.npz"), dict(model.weights))
