"""Devices: which one is taken, in which precision, and what is said when there is none or its memory is full."""

import pytest
import torch
from torch import nn

from TransferSegLib.device import autocast, channels_last, choose_device, choose_precision, memory_errors, to_input
from TransferSegLib.errors import DependencyError, InputError, ResourceError

CPU = torch.device("cpu")


def machine(monkeypatch, cuda=0, mps=False):
    """Make PyTorch say that it found so many CUDA devices, and Apple's."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "device"), [(0, False, "cpu"), (0, True, "mps"), (2, False, "cuda"), (1, True, "cuda")]
)
def test_auto_takes_the_fastest_there_is(monkeypatch, cuda, mps, device):
    machine(monkeypatch, cuda, mps)
    assert choose_device() == torch.device(device)
    assert choose_device("cpu") == CPU


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "", "meta", "xpu"])
def test_a_device_that_does_not_exist_is_told(name):
    with pytest.raises(InputError) as caught:
        choose_device(name)
    assert str(caught.value) == f"There is no device '{name}'. Use cpu, cuda, cuda:1, mps or auto."


@pytest.mark.parametrize(("name", "cuda"), [("cuda", 0), ("cuda:0", 0), ("cuda:2", 2), ("mps", 2)])
def test_a_device_that_this_machine_lacks_is_told(monkeypatch, name, cuda):
    machine(monkeypatch, cuda)
    with pytest.raises(DependencyError) as caught:
        choose_device(name)
    assert str(caught.value) == (
        f"PyTorch finds no device '{name}' on this machine. Use --device cpu, or install a PyTorch for it."
    )


def test_one_of_several_cards_can_be_chosen(monkeypatch):
    machine(monkeypatch, cuda=2)
    assert choose_device("cuda:1") == torch.device("cuda", 1)


def test_precisions_by_name():
    assert choose_precision("float32", CPU) == torch.float32
    assert choose_precision("bfloat16", CPU) == torch.bfloat16
    with pytest.raises(InputError) as caught:
        choose_precision("float16", CPU)
    assert str(caught.value) == "There is no precision 'float16'. Use one of auto, float32, bfloat16."


@pytest.mark.parametrize(
    ("capability", "has", "expected"),
    [
        ("AVX512", True, torch.bfloat16),
        ("AVX512", False, torch.float32),
        ("AVX2", True, torch.float32),
        ("DEFAULT", False, torch.float32),
    ],
)
def test_auto_precision_on_the_cpu_is_what_its_hardware_computes_with(monkeypatch, capability, has, expected):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has, raising=False)
    assert choose_precision("auto", CPU) == expected


@pytest.mark.parametrize(("has", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_precision_on_a_card_does_not_count_emulation(monkeypatch, has, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has or including_emulation)
    assert choose_precision("auto", torch.device("cuda")) == expected
    assert choose_precision("auto", torch.device("mps")) == torch.float32


def test_autocast_computes_in_bfloat16_only_when_asked():
    layer, values = nn.Conv3d(1, 1, 3), torch.ones(1, 1, 4, 4, 4)
    with autocast(CPU, torch.float32):
        assert layer(values).dtype == torch.float32
    with autocast(CPU, torch.bfloat16):
        assert layer(values).dtype == torch.bfloat16


def test_channels_last_changes_the_layout_and_no_value():
    network = nn.Sequential(nn.Conv3d(2, 3, 3), nn.BatchNorm3d(3))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    channels_last(network)
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last_3d)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_an_image_becomes_a_batch_of_one_with_channels_last():
    image = torch.rand(3, 4, 5, 6)
    batch = to_input(image, CPU)
    assert batch.shape == (1, 3, 4, 5, 6)
    assert batch.is_contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(batch[0], image)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_full_memory_is_told_with_a_remedy(error):
    with pytest.raises(ResourceError) as caught, memory_errors("Take less."):
        raise error
    assert str(caught.value) == "The memory is full. Take less."
    assert caught.value.__cause__ is error


def test_other_errors_are_left_alone():
    with pytest.raises(RuntimeError, match="shapes differ"), memory_errors("Take less."):
        raise RuntimeError("shapes differ")


def test_what_pytorch_really_says_when_memory_is_full_is_understood():
    with pytest.raises(ResourceError), memory_errors(""):
        torch.empty(1 << 58)
