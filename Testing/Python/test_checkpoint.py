"""Checkpoints: all of it comes back, or a sentence says why not; an interrupted write leaves the last one."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path

import brains  # noqa: F401 - one thread
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from TransferSegLib import checkpoint as module
from TransferSegLib.checkpoint import (
    Checkpoint,
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from TransferSegLib.device import channels_last
from TransferSegLib.errors import InputError, ResourceError


def make_checkpoint(epoch: int = 3) -> Checkpoint:
    torch.manual_seed(epoch)
    kernel = torch.randn(4, 3, 3, 3, 3).contiguous(memory_format=torch.channels_last_3d)
    return Checkpoint(
        {
            "network": {"encoder.1.conv1.weight": kernel, "norm.num_batches_tracked": torch.tensor(7)},
            "best": {"encoder.1.conv1.weight": kernel[:, :, 1], "half": torch.randn(5).bfloat16()},
            "optimizer": {"head.weight|step": torch.tensor(12.0), "head.weight|exp_avg": torch.randn(2, 4, 1, 1, 1)},
        },
        {"epoch": epoch, "best_score": 1 / 3, "history": [{"loss": 0.1 + 0.2}], "name": "Größe"},
    )


def error_of(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_checkpoint(path)
    return str(caught.value)


def test_all_tensors_and_numbers_come_back_to_the_bit(tmp_path: Path) -> None:
    saved = make_checkpoint()
    save_checkpoint(saved, tmp_path / "run" / "checkpoint.safetensors")
    loaded = load_checkpoint(tmp_path / "run" / "checkpoint.safetensors")
    assert loaded.progress == saved.progress
    assert loaded.tensors.keys() == saved.tensors.keys()
    for group, tensors in saved.tensors.items():
        assert loaded.tensors[group].keys() == tensors.keys()
        for name, tensor in tensors.items():
            found = loaded.tensors[group][name]
            assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape)
            assert torch.equal(found, tensor)


def test_scores_that_are_no_numbers_come_back_too(tmp_path: Path) -> None:
    save_checkpoint(Checkpoint({}, {"nothing yet": -math.inf, "undefined": math.nan}), tmp_path / "a")
    progress = load_checkpoint(tmp_path / "a").progress
    assert progress["nothing yet"] == -math.inf
    assert math.isnan(progress["undefined"])


def test_a_group_may_be_empty_and_tensors_may_share_memory(tmp_path: Path) -> None:
    tensor = torch.arange(6.0).reshape(2, 3)
    save_checkpoint(Checkpoint({"network": {"a": tensor, "b": tensor.T}, "best": {}}, {}), tmp_path / "a")
    loaded = load_checkpoint(tmp_path / "a").tensors
    assert torch.equal(loaded["network"]["a"], tensor)
    assert torch.equal(loaded["network"]["b"], tensor.T)
    assert loaded.get("best", {}) == {}


def test_a_checkpoint_replaces_the_one_before(tmp_path: Path) -> None:
    for epoch in (1, 2, 3):
        save_checkpoint(make_checkpoint(epoch), tmp_path / "a")
    assert load_checkpoint(tmp_path / "a").progress["epoch"] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_nothing_is_pickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*args: object, **options: object) -> None:
        raise AssertionError("a pickle can run code")

    for where, name in ((pickle, "load"), (pickle, "loads"), (pickle, "dump"), (torch, "load"), (torch, "save")):
        monkeypatch.setattr(where, name, forbidden)
    save_checkpoint(make_checkpoint(), tmp_path / "a")
    load_checkpoint(tmp_path / "a")
    content = (tmp_path / "a").read_bytes()
    length = int.from_bytes(content[:8], "little")
    assert "__metadata__" in json.loads(content[8 : 8 + length])


def test_a_pickle_is_refused_without_being_opened(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (tmp_path.joinpath("opened").touch, ())

    (tmp_path / "a").write_bytes(pickle.dumps(Evil()))
    assert "is damaged" in error_of(tmp_path / "a")
    assert not (tmp_path / "opened").exists()


# What is wrong


def test_a_missing_checkpoint_is_told_with_what_to_do(tmp_path: Path) -> None:
    assert error_of(tmp_path / "a") == (
        f"There is no checkpoint {tmp_path / 'a'}. Leave out --resume to start a new run."
    )


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.9, 0.999])
def test_a_truncated_checkpoint_is_told_with_its_path(tmp_path: Path, share: float) -> None:
    save_checkpoint(make_checkpoint(), tmp_path / "a")
    content = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(content[: int(share * len(content))])
    message = error_of(tmp_path / "a")
    assert message.startswith(f"The checkpoint {tmp_path / 'a'} is damaged: ")
    assert message.endswith("Start a new run.")


@pytest.mark.parametrize("content", [b"\x00" * 1000, b"\xff" * 1000, b"not a checkpoint at all", b"PK\x03\x04" * 50])
def test_another_file_is_told_to_be_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    assert "is damaged" in error_of(tmp_path / "a")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"progress": "{"}])
def test_weights_that_are_no_checkpoint_are_told(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file({"a": torch.ones(3)}, tmp_path / "a", metadata)
    assert "is damaged" in error_of(tmp_path / "a")


# Interrupted writes


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), "disk is full"),
        (OSError(28, "No space left on device"), "disk is full"),
        (SafetensorError("Error while serializing: I/O error"), "cannot be written"),
        (KeyboardInterrupt(), ""),
    ],
)
def test_a_failed_write_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, told: str
) -> None:
    save_checkpoint(make_checkpoint(1), tmp_path / "a")

    def fail(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
        Path(path).write_bytes(b"half")
        raise error

    monkeypatch.setattr(module, "save_file", fail)
    expected = (ResourceError, InputError) if told else KeyboardInterrupt
    with pytest.raises(expected, match=told or None):
        save_checkpoint(make_checkpoint(2), tmp_path / "a")
    assert load_checkpoint(tmp_path / "a").progress["epoch"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


# The optimizer


def make_optimizer(seed: int = 0) -> tuple[nn.Module, torch.optim.AdamW, dict[Tensor, str]]:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv3d(2, 3, 3), nn.Conv3d(3, 2, 1), nn.BatchNorm3d(2))
    channels_last(network)
    for parameter in network[1].parameters():
        parameter.requires_grad_(False)
    names = {p: name for name, p in network.named_parameters() if p.requires_grad}
    return network, torch.optim.AdamW(list(names), lr=0.01, weight_decay=0.1, foreach=True), names


def step(network: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    image = torch.randn(2, 2, 5, 5, 5, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    network(image).square().sum().backward()
    optimizer.step()


def test_an_optimizer_goes_on_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    network, optimizer, names = make_optimizer()
    for seed in range(3):
        step(network, optimizer, seed)
    groups = {"network": network.state_dict(), "optimizer": optimizer_tensors(optimizer, names)}
    save_checkpoint(Checkpoint(groups, {}), tmp_path / "a")

    other, resumed, other_names = make_optimizer(seed=1)
    loaded = load_checkpoint(tmp_path / "a").tensors
    other.load_state_dict(dict(loaded["network"]))
    restore_optimizer(resumed, other_names, loaded["optimizer"])
    for seed in range(3, 6):
        step(network, optimizer, seed)
        step(other, resumed, seed)
    for name, tensor in network.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name


def test_a_restored_state_is_laid_out_in_memory_as_its_parameter(tmp_path: Path) -> None:
    network, optimizer, names = make_optimizer()
    step(network, optimizer, 0)
    save_checkpoint(Checkpoint({"optimizer": optimizer_tensors(optimizer, names)}, {}), tmp_path / "a")
    other, resumed, other_names = make_optimizer()
    restore_optimizer(resumed, other_names, load_checkpoint(tmp_path / "a").tensors["optimizer"])
    kernel = other[0].weight
    assert (
        resumed.state[kernel]["exp_avg"].stride()
        == kernel.stride()
        == optimizer.state[network[0].weight]["exp_avg"].stride()
    )


def test_only_trained_parameters_have_a_state() -> None:
    network, optimizer, names = make_optimizer()
    assert optimizer_tensors(optimizer, names) == {}
    step(network, optimizer, 0)
    assert {key.partition("|")[0] for key in optimizer_tensors(optimizer, names)} == {
        "0.weight",
        "0.bias",
        "2.weight",
        "2.bias",
    }
