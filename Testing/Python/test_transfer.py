"""What is loaded, mapped, made new and frozen, and that a frozen layer does not change by one bit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from brains import prepared
from torch import Tensor, nn

from TransferSegLib.case_files import CHANNELS
from TransferSegLib.errors import ModelError
from TransferSegLib.labels import GLIOMA
from TransferSegLib.network import UNet
from TransferSegLib.recipe import Recipe
from TransferSegLib.strategies import STRATEGIES, Strategy, find_strategy, layer_group
from TransferSegLib.training import train
from TransferSegLib.transfer import TensorOrigin, describe, freeze, in_groups, tensor_hash, transfer_weights

FREEZING = ("last-three", "decoder", "norm")
KEEP_ALL = Strategy("keep-all", (), (), "Nothing is new: what comes out is the source.")
RECIPE = Recipe(epochs=2, learning_rate=0.01, augmentation=(), batch_size=1, patch=0, precision="float32", device="cpu")


def make_source(seed: int = 1, **parameters: int) -> UNet:
    """A source network whose batch norms have seen something."""
    torch.manual_seed(seed)
    network = UNet(**{"classes": 2, **parameters})
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
            module.num_batches_tracked.fill_(7)
    return network


def carry_over(
    strategy: str | Strategy, channels: tuple[str, ...] = CHANNELS, source: UNet | None = None, classes: int = 4
) -> tuple[UNet, dict[str, Tensor], list[TensorOrigin]]:
    """A new network with the source's weights in it as the strategy says, the source's weights, and the report."""
    state = (source or make_source()).state_dict()
    torch.manual_seed(2)
    network = UNet(len(channels), classes)
    chosen = find_strategy(strategy) if isinstance(strategy, str) else strategy
    rows = transfer_weights(network, state, chosen, channels, CHANNELS)
    return network, state, rows


def copy_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def image(seed: int = 0, channels: int = 4) -> Tensor:
    return torch.randn(1, channels, 16, 16, 8, generator=torch.Generator().manual_seed(seed))


# What is loaded and what is new


@pytest.mark.parametrize("name", STRATEGIES)
def test_loaded_tensors_are_the_sources_to_the_bit_and_new_ones_are_not(name: str) -> None:
    network, source, rows = carry_over(name)
    new = set(in_groups(network, find_strategy(name).new))
    random = UNet(4, 4).state_dict()
    for row in rows:
        mine, layer = network.state_dict()[row.name], row.name.rpartition(".")[0]
        assert row.origin == ("new" if layer in new else "loaded"), row.name
        if row.origin == "loaded":
            assert torch.equal(mine, source[row.name]), row.name
        elif not layer.endswith("norm"):  # random numbers are never the source's
            assert mine.shape == random[row.name].shape
            assert mine.shape != source[row.name].shape or not torch.equal(mine, source[row.name]), row.name


@pytest.mark.parametrize("name", ["last-three", "decoder", "all"])
def test_the_last_three_layers_are_new_even_where_they_would_fit(name: str) -> None:
    _, _, rows = carry_over(name, classes=2)
    assert {row.name.rpartition(".")[0] for row in rows if row.origin == "new"} == {
        "decoder.1.conv1",
        "decoder.1.conv2",
        "head",
    }


def test_a_source_with_other_classes_fits_since_the_head_is_new() -> None:
    network, _, _ = carry_over("all", source=make_source(classes=7))
    assert network.head.weight.shape[0] == 4


def test_the_report_has_a_row_for_every_tensor_with_its_shape() -> None:
    network, _, rows = carry_over("decoder")
    assert [(row.name, row.shape) for row in rows] == [
        (name, tuple(tensor.shape)) for name, tensor in network.state_dict().items()
    ]


def test_new_layers_keep_the_random_weights_of_the_network() -> None:
    torch.manual_seed(2)
    untouched = UNet(4, 4).state_dict()
    network, _, rows = carry_over("last-three")
    same = {name for name, tensor in network.state_dict().items() if torch.equal(tensor, untouched[name])}
    assert same == {row.name for row in rows if row.origin == "new"}


def test_training_from_scratch_needs_nothing_of_the_source() -> None:
    network = UNet()
    before = copy_of(network)
    rows = transfer_weights(network, {}, find_strategy("scratch"), CHANNELS, CHANNELS)
    assert {row.origin for row in rows} == {"new"}
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_a_source_without_a_tensor_is_refused() -> None:
    state = make_source().state_dict()
    del state["bottom.conv1.weight"]
    with pytest.raises(ModelError, match=r"no tensor 'bottom\.conv1\.weight'"):
        transfer_weights(UNet(), state, find_strategy("all"), CHANNELS, CHANNELS)


def test_a_source_with_more_filters_is_refused() -> None:
    with pytest.raises(
        ModelError, match=r"'encoder\.1\.conv1\.weight' has the shape \(8, 4, 3, 3, 3\) in the source and"
    ):
        carry_over("all", source=make_source(base_filters=8))


# Channels are mapped by name


def test_permuted_channels_give_the_output_of_the_source() -> None:
    source = make_source(classes=4).eval()
    order = ("flair", "t1", "t2", "t1c")
    network, _, rows = carry_over(KEEP_ALL, order, source)
    x = image()
    with torch.no_grad():
        expected = source(x)
        found = network.eval()(x[:, [CHANNELS.index(name) for name in order]])
    torch.testing.assert_close(found, expected)
    assert rows[0] == TensorOrigin("encoder.1.conv1.weight", (4, 4, 3, 3, 3), "mapped", "kept flair, t1, t2, t1c")


def test_a_dropped_channel_counts_as_if_it_were_empty() -> None:
    source = make_source(classes=4).eval()
    network, _, rows = carry_over(KEEP_ALL, ("t1", "flair"), source)
    x = image()
    x[:, [1, 2]] = 0
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(x[:, [0, 3]]), source(x))
    assert rows[0].detail == "kept t1, flair; dropped t1c, t2"


def test_an_added_channel_starts_from_the_mean_of_the_kernels_and_the_known_ones_keep_theirs() -> None:
    network, source, rows = carry_over("all", ("dwi", "t1", "t1c", "t2", "flair"))
    kernels = source["encoder.1.conv1.weight"]
    assert torch.equal(network.encoder["1"].conv1.weight[:, 1:], kernels)
    torch.testing.assert_close(network.encoder["1"].conv1.weight[:, 0], kernels.mean(1))
    assert rows[0].detail == "kept t1, t1c, t2, flair; added dwi (mean of the source's kernels)"


def test_channels_may_be_added_and_dropped_at_once() -> None:
    network, source, rows = carry_over("all", ("t2", "pd"))
    assert torch.equal(network.encoder["1"].conv1.weight[:, 0], source["encoder.1.conv1.weight"][:, 2])
    assert rows[0].detail == "kept t2; added pd (mean of the source's kernels); dropped t1, t1c, flair"
    assert rows[0].shape == (4, 2, 3, 3, 3)


def test_only_the_first_kernel_is_mapped() -> None:
    _, _, rows = carry_over("all", ("t1", "flair"))
    assert [row.name for row in rows if row.origin == "mapped"] == ["encoder.1.conv1.weight"]
    assert [row.name for row in rows if row.detail] == ["encoder.1.conv1.weight"]


def test_the_same_channels_are_loaded_and_not_mapped() -> None:
    _, _, rows = carry_over("all")
    assert (rows[0].origin, rows[0].detail) == ("loaded", "")


def test_channels_that_have_nothing_in_common_are_refused() -> None:
    with pytest.raises(ModelError) as caught:
        carry_over("all", ("dwi", "adc"))
    assert "None of the channels dwi, adc is known to the source (t1, t1c, t2, flair)." in str(caught.value)


def test_a_source_that_names_other_channels_than_it_has_is_damaged() -> None:
    state = make_source().state_dict()
    with pytest.raises(ModelError, match="names 2 channels but its first layer takes 4"):
        transfer_weights(UNet(1), state, find_strategy("all"), ("t1",), ("t1", "t2"))


# Freezing


@pytest.mark.parametrize(
    ("name", "trained"),
    [("scratch", 101_048), ("last-three", 1_324), ("decoder", 45_576), ("all", 101_048), ("norm", 188)],
)
def test_the_number_of_trained_parameters(name: str, trained: int) -> None:
    network = UNet()
    freeze(network, find_strategy(name))
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == trained


@pytest.mark.parametrize("name", STRATEGIES)
def test_all_tensors_of_a_frozen_layer_are_listed_running_statistics_too(name: str) -> None:
    network = UNet()
    frozen = freeze(network, find_strategy(name))
    trained = set(in_groups(network, find_strategy(name).trained))
    assert sorted(frozen) == sorted(t for t in network.state_dict() if t.rpartition(".")[0] not in trained)
    if name in ("last-three", "decoder"):
        assert {"encoder.1.norm.running_var", "encoder.3.norm.num_batches_tracked"} < set(frozen)


@pytest.mark.parametrize("name", FREEZING)
@pytest.mark.parametrize("training", [True, False])
def test_what_is_frozen_stays_frozen_after_train(name: str, training: bool) -> None:
    network = UNet().train(training)
    frozen = set(freeze(network, find_strategy(name)))
    network.eval()
    network.train()
    for layer, module in network.named_modules():
        if isinstance(module, nn.BatchNorm3d):
            assert module.training == (f"{layer}.running_mean" not in frozen), layer
    network(image()).sum().backward()
    for parameter, tensor in network.named_parameters():
        assert (tensor.grad is None) == (parameter in frozen), parameter


def test_a_network_can_be_frozen_anew_in_another_way() -> None:
    network = UNet()
    freeze(network, find_strategy("last-three"))
    assert freeze(network, find_strategy("all")) == []
    network.train()
    assert all(p.requires_grad for p in network.parameters())
    assert all(module.training for module in network.modules())


def freeze_naively(network: UNet, strategy: Strategy) -> list[str]:
    """How it is usually done, and how it goes wrong."""
    frozen = freeze(UNet(), strategy)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name not in frozen)
    return frozen


@pytest.mark.parametrize("settle", [0.5, 1.0])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("name", FREEZING)
def test_a_training_does_not_change_a_frozen_layer_by_one_bit(name: str, weight_decay: float, settle: float) -> None:
    network, source, _ = carry_over(name)
    frozen = freeze(network, find_strategy(name))
    before, first_hash = copy_of(network), tensor_hash(network, frozen)
    recipe = replace(RECIPE, weight_decay=weight_decay, settle=settle)
    result = train(network, [prepared(1), prepared(2)], [prepared(3)], GLIOMA, recipe)
    after = network.state_dict()
    for tensor in frozen:
        assert torch.equal(after[tensor], before[tensor]), tensor
        assert torch.equal(result.weights[tensor], source[tensor]), tensor
    assert tensor_hash(network, frozen) == first_hash
    # All else did change, or there would be nothing to keep still.
    for tensor in set(after) - set(frozen):
        assert not torch.equal(after[tensor], before[tensor]), tensor


@pytest.mark.parametrize("name", ["last-three", "decoder"])
def test_naive_freezing_would_let_the_running_statistics_drift(name: str) -> None:
    network, _, _ = carry_over(name)
    frozen = freeze_naively(network, find_strategy(name))
    before, first_hash = copy_of(network), tensor_hash(network, frozen)
    train(network, [prepared(1), prepared(2)], [prepared(3)], GLIOMA, replace(RECIPE, settle=1.0))
    drifted = {tensor for tensor in frozen if not torch.equal(network.state_dict()[tensor], before[tensor])}
    assert drifted == {
        tensor for tensor in frozen if tensor.endswith(("running_mean", "running_var", "num_batches_tracked"))
    }
    assert drifted
    assert tensor_hash(network, frozen) != first_hash


def test_a_frozen_encoder_gives_the_answer_of_the_source_after_a_training_on_other_intensities() -> None:
    source = make_source()
    network, _, _ = carry_over("decoder", source=source)
    freeze(network, find_strategy("decoder"))
    shifted = [replace(case, image=case.image * 1.5 + case.brain) for case in (prepared(1), prepared(2))]
    train(network, shifted, [], GLIOMA, RECIPE)
    x = image()
    with torch.no_grad():
        for n in "123":
            (_, mine), (_, theirs) = network.encoder[n].train()(x), source.encoder[n].eval()(x)
            assert torch.equal(mine, theirs)
            x = theirs
        assert torch.equal(network.bottom(x), source.bottom(x))


# The hash and the table


def test_the_hash_of_tensors_changes_with_one_bit_and_not_with_the_order_of_names() -> None:
    network = UNet()
    names = list(network.state_dict())
    first = tensor_hash(network, names)
    assert tensor_hash(network, reversed(names)) == first
    assert tensor_hash(network, names[1:]) != first
    number = network.encoder["1"].norm.running_mean[:1].view(torch.int32)
    number ^= 1
    assert tensor_hash(network, names) != first
    number ^= 1
    assert tensor_hash(network, names) == first


def test_the_hash_does_not_depend_on_how_the_numbers_are_laid_out_in_memory() -> None:
    network = UNet()
    first = tensor_hash(network, network.state_dict())
    network.to(memory_format=torch.channels_last_3d)
    assert tensor_hash(network, network.state_dict()) == first


def test_the_table_says_what_is_done_with_each_group() -> None:
    network, _, rows = carry_over("decoder", ("t1", "flair"))
    freeze(network, find_strategy("decoder"))
    lines = describe(network, rows).splitlines()
    assert lines[0].split() == ["layers", "weights", "parameters", "trained"]
    table = {line[:20].strip(): line[20:].split() for line in lines[1:6]}
    assert table == {
        "encoder": ["loaded", "+", "mapped", "55,256", "0", "frozen"],
        "decoder": ["loaded", "44,252", "44,252"],
        "last convolutions": ["new", "1,304", "1,304"],
        "head": ["new", "20", "20"],
        "all": ["100,832", "45,576"],
    }
    assert lines[6:] == ["encoder.1.conv1.weight: kept t1, flair; dropped t1c, t2"]


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_table_adds_up(name: str) -> None:
    network, _, rows = carry_over(name)
    freeze(network, find_strategy(name))
    lines = [line.removesuffix("   frozen") for line in describe(network, rows).splitlines()[1:]]
    counts = [[int(word.replace(",", "")) for word in line.split()[-2:]] for line in lines]
    assert [sum(column) for column in zip(*counts[:-1], strict=True)] == counts[-1]


def test_every_row_belongs_to_a_group() -> None:
    _, _, rows = carry_over("all")
    assert {layer_group(row.name.rpartition(".")[0]) for row in rows} == {
        "encoder",
        "decoder",
        "last convolutions",
        "head",
    }
