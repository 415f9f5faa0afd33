"""Batch norm in training: running statistics of a batch, and of all cases once they settle."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from test_training import CASES, copy_of, make_network, norms, recipe, run, same
from torch import Tensor, nn

from TransferSegLib import training as module
from TransferSegLib.distributed import World
from TransferSegLib.events import Event, Metric
from TransferSegLib.network import UNet
from TransferSegLib.strategies import find_strategy
from TransferSegLib.transfer import freeze


@pytest.mark.parametrize("batch_size", [2, 3])
def test_running_statistics_after_a_batch_do_not_depend_on_the_order_of_its_samples(
    monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    def after(order: list[int]) -> list[Tensor]:
        network = make_network()
        with monkeypatch.context() as patch:
            patch.setattr(module, "epoch_order", lambda *_: list(order))
            run(recipe(epochs=1, batch_size=batch_size), CASES[:batch_size], [], network)
        return [t for norm in norms(network) for t in (norm.running_mean, norm.running_var)]  # type: ignore[misc]

    forwards, backwards = after(list(range(batch_size))), after(list(range(batch_size))[::-1])
    for a, b in zip(forwards, backwards, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)
    # Each sample has had the same share of the momentum: the mean over runs with one sample each.
    alone = []
    for case in CASES[:batch_size]:
        network = make_network()
        run(recipe(epochs=1), [case], [], network)
        alone.append([t for norm in norms(network) for t in (norm.running_mean, norm.running_var)])
    for together, *single in zip(forwards, *alone, strict=True):
        torch.testing.assert_close(together, torch.stack(single).mean(0), rtol=1e-5, atol=1e-6)  # type: ignore[arg-type]


def test_once_settled_the_statistics_are_those_of_all_cases_and_stay() -> None:
    network = make_network()
    frozen_copy = copy_of(network)
    record: list[list[Tensor]] = []

    def listen(event: Event) -> None:
        if isinstance(event, Metric):
            record.append([t.clone() for norm in norms(network) for t in norm.buffers()])

    run(recipe(epochs=4, settle=0.5), network=network, on_event=listen)
    first, second, third, fourth = record
    assert not any(torch.equal(a, b) for a, b in zip(first[::3], second[::3], strict=True))  # the means move
    assert all(torch.equal(a, b) for a, b in zip(third, fourth, strict=True))
    assert [int(count) for count in third[2::3]] == [len(CASES)] * 6
    assert not same(frozen_copy, copy_of(network))


def test_the_statistics_it_settles_on_are_the_plain_mean_over_the_cases() -> None:
    network = make_network()
    samples: list[Tensor] = []
    with torch.no_grad():
        for case in CASES:
            skip, _ = network.encoder["1"](torch.from_numpy(case.image)[None])
            samples.append(nn.functional.avg_pool3d(skip, 2))
    run(recipe(epochs=1, settle=0.0), network=network)
    norm = network.encoder["1"].norm
    torch.testing.assert_close(norm.running_mean, torch.stack([x.mean((0, 2, 3, 4)) for x in samples]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([x.var((0, 2, 3, 4)) for x in samples]).mean(0))
    assert norm.momentum == UNet().encoder["1"].norm.momentum


def test_settling_leaves_frozen_batch_norms_alone() -> None:
    network = make_network()
    for norm in norms(network):
        nn.init.uniform_(norm.running_mean, 0.5, 1.5)
        norm.num_batches_tracked.fill_(77)
    freeze(network, find_strategy("decoder"))
    before = copy_of(network)
    run(recipe(epochs=2, settle=0.5), network=network)
    for name, tensor in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert int(tensor) == (77 if name.startswith("encoder") else len(CASES)), name
        if name.startswith("encoder"):
            assert torch.equal(tensor, before[name]), name


class Alike(World):
    """Three processes that all have the same."""

    def sum_(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            tensor.detach().mul_(self.size)


@pytest.mark.parametrize("statistics", ["running", "image"])
def test_several_processes_leave_statistics_that_stand_still_alone_to_the_bit(statistics: str) -> None:
    torch.manual_seed(0)
    network = UNet(4, 4, 2, statistics=statistics)
    for norm in norms(network):
        nn.init.uniform_(norm.running_mean, 0.5, 1.5)  # type: ignore[arg-type]
        nn.init.uniform_(norm.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    freeze(network, find_strategy("decoder"))
    before = copy_of(network)
    assert any(not torch.equal(t / 3 * 3, t) for t in before.values() if t.is_floating_point())
    run(recipe(epochs=2, batch_size=3), network=network, world=Alike(0, 3))
    for name, tensor in network.state_dict().items():
        if "running" in name:
            still = statistics == "image" or name.startswith("encoder")
            assert torch.equal(tensor, before[name]) == still, name


def test_a_network_that_uses_the_statistics_of_each_image_has_nothing_to_settle() -> None:
    torch.manual_seed(0)
    network = UNet(4, 4, 2, statistics="image")
    for norm in norms(network):
        nn.init.uniform_(norm.running_mean, 0.5, 1.5)  # type: ignore[arg-type]
    before = [t.clone() for norm in norms(network) for t in norm.buffers()]
    run(recipe(epochs=2, settle=0.5), network=network)
    assert all(torch.equal(a, b) for a, b in zip(before, (t for n in norms(network) for t in n.buffers()), strict=True))


def test_in_training_the_network_computes_after_settling_as_it_will_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[set[bool]] = []
    network = make_network()
    loss = module._Trainer._loss

    def record(self: Any, *args: Any) -> Tensor:
        modes.append({norm.training for norm in norms(network)})
        return loss(self, *args)

    monkeypatch.setattr(module._Trainer, "_loss", record)
    run(recipe(epochs=4, settle=0.5), network=network)
    assert modes == [{True}] * 6 + [{False}] * 6
