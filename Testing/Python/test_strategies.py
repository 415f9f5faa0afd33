"""The transfer strategies as data: which layer belongs where, and what each strategy does with it."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from TransferSegLib.errors import InputError
from TransferSegLib.network import UNet
from TransferSegLib.strategies import (
    LAYER_GROUPS,
    NORMS,
    STRATEGIES,
    Strategy,
    count_parameters,
    find_strategy,
    layer_group,
    layer_parameters,
)
from TransferSegLib.transfer import freeze, in_groups

LAST_THREE = ["decoder.1.conv1", "decoder.1.conv2", "head"]


def layers(network: nn.Module) -> list[str]:
    """Modules with tensors of their own."""
    return [name for name, module in network.named_modules() if [*module.parameters(recurse=False)]]


def parameters_in(network: nn.Module, *groups: str) -> int:
    modules = dict(network.named_modules())
    return sum(tensor.numel() for name in in_groups(network, groups) for tensor in modules[name].parameters())


@pytest.mark.parametrize("steps", [2, 3, 4, 5])
def test_every_layer_belongs_to_exactly_one_group(steps: int) -> None:
    for name in layers(UNet(steps=steps, base_filters=1)):
        matching = [group for group, pattern in LAYER_GROUPS.items() if re.fullmatch(pattern, name)]
        assert len(matching) == 1, name
        assert layer_group(name) == matching[0]


def test_every_group_has_layers() -> None:
    network = UNet()
    assert len(layers(network)) == 24
    assert {layer_group(name) for name in layers(network)} == set(LAYER_GROUPS)


def test_the_sizes_of_the_groups_are_those_of_the_paper() -> None:
    network = UNet()
    assert parameters_in(network, "encoder") == 55_472
    assert parameters_in(network, "decoder", "last convolutions", "head") == 45_576
    assert parameters_in(network, "last convolutions", "head") == 1_324
    assert parameters_in(network, NORMS) == 168
    assert parameters_in(network, *LAYER_GROUPS) == 101_048


def test_the_last_three_layers_are_two_convolutions_and_the_head_without_the_batch_norm_before_them() -> None:
    assert in_groups(UNet(), ("last convolutions", "head")) == LAST_THREE


def test_the_decoder_begins_with_its_first_transposed_convolution() -> None:
    found = in_groups(UNet(), ("decoder",))
    assert found[0] == "decoder.3.up"
    assert {"decoder.1.up", "decoder.1.norm"} < set(found)
    assert not set(found) & set(LAST_THREE)
    assert layer_group("bottom.conv2") == "encoder"


def test_batch_norms_are_a_group_across_the_others() -> None:
    expected = [name for name in layers(UNet()) if name.endswith(".norm")]
    assert in_groups(UNet(), (NORMS,)) == expected
    assert len(expected) == 6


@pytest.mark.parametrize(
    ("name", "new", "trained"),
    [
        ("scratch", 101_048, 101_048),
        ("last-three", 1_324, 1_324),
        ("decoder", 1_324, 45_576),
        ("all", 1_324, 101_048),
        ("norm", 20, 188),
    ],
)
def test_what_each_strategy_renews_and_trains(name: str, new: int, trained: int) -> None:
    strategy, network = find_strategy(name), UNet()
    assert parameters_in(network, *strategy.new) == new
    assert parameters_in(network, *strategy.trained) == trained


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=list(STRATEGIES))
@pytest.mark.parametrize(
    ("in_channels", "classes", "base_filters", "steps"),
    [(4, 4, 4, 4), (4, 2, 4, 4), (1, 2, 1, 2), (3, 5, 2, 3), (7, 11, 3, 5), (2, 3, 16, 6)],
)
def test_parameters_are_counted_as_they_are_in_the_network(
    strategy: Strategy, in_channels: int, classes: int, base_filters: int, steps: int
) -> None:
    with torch.device("meta"):
        network = UNet(in_channels, classes, base_filters, steps)
    found = count_parameters(strategy, in_channels, classes, base_filters, steps)
    freeze(network, strategy)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    assert found.trained == sum(parameter.numel() for parameter in trained)
    assert found.total == sum(parameter.numel() for parameter in network.parameters())
    modules = dict(network.named_modules())
    assert layer_parameters(in_channels, classes, base_filters, steps) == {
        name: sum(parameter.numel() for parameter in modules[name].parameters()) for name in layers(network)
    }


def test_the_counts_of_the_paper_need_no_network() -> None:
    assert count_parameters(find_strategy("scratch"), 4, 2) == (101_038, 101_038)
    assert count_parameters(find_strategy("decoder"), 4, 4) == (45_576, 101_048)


def test_what_is_new_is_always_trained() -> None:
    for strategy in STRATEGIES.values():
        network = UNet()
        assert set(in_groups(network, strategy.new)) <= set(in_groups(network, strategy.trained)), strategy.name


def test_a_strategy_names_known_groups_and_explains_itself() -> None:
    for name, strategy in STRATEGIES.items():
        assert strategy.name == name
        assert {*strategy.new, *strategy.trained} <= {*LAYER_GROUPS, NORMS}
        assert strategy.explanation.endswith(".")


def test_an_unknown_strategy_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError) as caught:
        find_strategy("last-four")
    assert str(caught.value) == (
        "There is no strategy 'last-four'. Choose one of scratch, last-three, decoder, all, norm."
    )
