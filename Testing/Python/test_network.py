"""The U-Net against the paper: section 3.2, Fig. 1a, and what the authors' slides settle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import brains  # noqa: F401 - one thread
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from TransferSegLib.errors import InputError
from TransferSegLib.network import FixableBatchNorm3d, UNet, check_input_shape

NORMS = {f"{part}.{n}.norm" for part in ("encoder", "decoder") for n in (1, 2, 3)}


def make_network(seed: int = 0, **parameters: Any) -> UNet:
    """A network in which no two numbers are alike, those of the batch norms too, so that each one shows."""
    torch.manual_seed(seed)
    network = UNet(**parameters)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
    return network


def image(*sides: int, channels: int = 4, batch: int = 1) -> Tensor:
    return torch.randn(batch, channels, *sides, generator=torch.Generator().manual_seed(1))


def reference(state: dict[str, Tensor], x: Tensor, training: bool = False) -> Tensor:
    """The network written a second time, from the text of the paper and the slides alone."""

    def conv(x: Tensor, name: str) -> Tensor:
        x = functional.conv3d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)
        return torch.where(x > 0, x, 0.01 * x)

    def up(x: Tensor, name: str) -> Tensor:
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        x = functional.conv_transpose3d(x, weight, bias, stride=2, padding=1, output_padding=1)
        return torch.where(x > 0, x, 0.01 * x)

    def norm(x: Tensor, name: str) -> Tensor:
        mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        if training:
            mean, variance = x.mean((0, 2, 3, 4)), x.var((0, 2, 3, 4), unbiased=False)
        shape = (1, -1, 1, 1, 1)
        x = (x - mean.view(shape)) / torch.sqrt(variance.view(shape) + 1e-5)
        return x * state[f"{name}.weight"].view(shape) + state[f"{name}.bias"].view(shape)

    skips = {}
    for n in (1, 2, 3):
        skips[n] = conv(conv(x, f"encoder.{n}.conv1"), f"encoder.{n}.conv2")
        x = norm(functional.avg_pool3d(skips[n], kernel_size=2, stride=2), f"encoder.{n}.norm")
    x = conv(conv(x, "bottom.conv1"), "bottom.conv2")
    for n in (3, 2, 1):
        x = norm(torch.cat([up(x, f"decoder.{n}.up"), skips[n]], 1), f"decoder.{n}.norm")
        x = conv(conv(x, f"decoder.{n}.conv1"), f"decoder.{n}.conv2")
    return functional.conv3d(x, state["head.weight"], state["head.bias"])


@contextmanager
def seen(network: UNet) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """Input and output of every convolution and norm, by name, once the network has run."""
    record: dict[str, tuple[Tensor, Tensor]] = {}

    def hook(name: str) -> Callable[..., None]:
        # Copied: what a layer gives is activated in place.
        return lambda module, inputs, output: record.update({name: (inputs[0].detach(), output.detach().clone())})

    handles = [
        module.register_forward_hook(hook(name)) for name, module in network.named_modules() if not [*module.children()]
    ]
    yield record
    for handle in handles:
        handle.remove()


def numbers(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# What it computes


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("classes", [2, 4])
def test_it_computes_what_the_paper_describes(classes: int, training: bool) -> None:
    network = make_network(classes=classes).train(training)
    x = image(16, 24, 8, batch=2)
    expected = reference(network.state_dict(), x, training)
    with torch.no_grad():
        torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-5)


def test_each_step_doubles_the_filters() -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in make_network().named_parameters() if tensor.dim() > 1}
    assert shapes == {
        "encoder.1.conv1.weight": (4, 4, 3, 3, 3),
        "encoder.1.conv2.weight": (4, 4, 3, 3, 3),
        "encoder.2.conv1.weight": (8, 4, 3, 3, 3),
        "encoder.2.conv2.weight": (8, 8, 3, 3, 3),
        "encoder.3.conv1.weight": (16, 8, 3, 3, 3),
        "encoder.3.conv2.weight": (16, 16, 3, 3, 3),
        "bottom.conv1.weight": (32, 16, 3, 3, 3),
        "bottom.conv2.weight": (32, 32, 3, 3, 3),
        # A transposed convolution has its input channels first. Both parts of [up, skip] have as many channels.
        "decoder.3.up.weight": (32, 16, 3, 3, 3),
        "decoder.3.conv1.weight": (16, 32, 3, 3, 3),
        "decoder.3.conv2.weight": (16, 16, 3, 3, 3),
        "decoder.2.up.weight": (16, 8, 3, 3, 3),
        "decoder.2.conv1.weight": (8, 16, 3, 3, 3),
        "decoder.2.conv2.weight": (8, 8, 3, 3, 3),
        "decoder.1.up.weight": (8, 4, 3, 3, 3),
        "decoder.1.conv1.weight": (4, 8, 3, 3, 3),
        "decoder.1.conv2.weight": (4, 4, 3, 3, 3),
        "head.weight": (4, 4, 1, 1, 1),
    }


def test_every_convolution_has_a_bias() -> None:
    layers = [module for module in make_network().modules() if isinstance(module, nn.Conv3d | nn.ConvTranspose3d)]
    assert len(layers) == 18
    assert all(layer.bias is not None for layer in layers)


def test_batch_norm_stands_after_poolings_and_concatenations_and_nowhere_else() -> None:
    found = {
        name for name, module in make_network().named_modules() if isinstance(module, nn.modules.batchnorm._NormBase)
    }
    assert found == NORMS


def test_a_skip_is_taken_before_pooling_and_batch_norm() -> None:
    network = make_network().eval()
    with seen(network) as layers, torch.no_grad():
        network(image(16, 16, 16))
    for n, filters in ((1, 4), (2, 8), (3, 16)):
        skip = functional.leaky_relu(layers[f"encoder.{n}.conv2"][1], 0.01)
        torch.testing.assert_close(layers[f"encoder.{n}.norm"][0], functional.avg_pool3d(skip, 2), msg=f"step {n}")
        torch.testing.assert_close(layers[f"decoder.{n}.norm"][0][:, filters:], skip, rtol=0, atol=0)


def test_up_comes_before_skip_and_both_are_normalised_together() -> None:
    network = make_network().eval()
    with seen(network) as layers, torch.no_grad():
        network(image(16, 16, 16))
    for n, filters in ((1, 4), (2, 8), (3, 16)):
        together, normalised = layers[f"decoder.{n}.norm"]
        assert together.shape[1] == 2 * filters
        up = functional.leaky_relu(layers[f"decoder.{n}.up"][1], 0.01)
        torch.testing.assert_close(together[:, :filters], up, rtol=0, atol=0)
        torch.testing.assert_close(layers[f"decoder.{n}.conv1"][0], normalised, rtol=0, atol=0)


def test_a_transposed_convolution_doubles_every_side_exactly() -> None:
    network = make_network().eval()
    with seen(network) as layers, torch.no_grad():
        network(image(8, 16, 40))
    for n, sides in ((3, (2, 4, 10)), (2, (4, 8, 20)), (1, (8, 16, 40))):
        before, after = layers[f"decoder.{n}.up"]
        assert tuple(after.shape[2:]) == sides == tuple(2 * side for side in before.shape[2:])


def test_the_softmax_is_outside() -> None:
    network = make_network().eval()
    x = image(8, 8, 8)
    with torch.no_grad():
        logits = network(x)
        for tensor in network.head.parameters():
            tensor.mul_(3)
        torch.testing.assert_close(network(x), 3 * logits)
    assert logits.min() < 0 or logits.max() > 1


@pytest.mark.parametrize("sides", [(8, 8, 8), (16, 8, 24), (32, 24, 8)])
def test_the_output_has_the_grid_of_the_input_and_a_channel_for_each_class(sides: tuple[int, ...]) -> None:
    with torch.no_grad():
        assert make_network(in_channels=3, classes=5)(image(*sides, channels=3, batch=2)).shape == (2, 5, *sides)


def test_the_bottom_grid_of_the_papers_image_is_30_24_24() -> None:
    with torch.device("meta"):
        network = UNet()
        shapes = {}
        network.bottom.register_forward_hook(lambda module, inputs, output: shapes.update(bottom=tuple(output.shape)))
        shapes["out"] = tuple(network(torch.empty(1, 4, 240, 192, 192)).shape)
    assert shapes == {"bottom": (1, 32, 30, 24, 24), "out": (1, 4, 240, 192, 192)}


def test_a_voxel_sees_100_voxels_along_each_axis() -> None:
    network = UNet(1, 2, base_filters=1).eval()
    for parameter in network.parameters():
        nn.init.constant_(parameter, 0.5)  # all positive: no path cancels another
    for axis in range(3):
        sides = [8, 8, 8]
        sides[axis] = 240
        spans = []
        for place in range(120, 128):
            x = torch.ones(1, 1, *sides, requires_grad=True)
            network(x)[0, 0].movedim(axis, 0)[place].sum().backward()
            touched = torch.nonzero(x.grad[0, 0].movedim(axis, 0).flatten(1).any(1)).flatten() - place
            spans.append((int(touched[0]), int(touched[-1])))
        assert spans[0] == (-46, 53)
        # The field moves in cells of 8 voxels; some places of a cell reach into one cell more.
        assert {high - low + 1 for low, high in spans} == {100, 108}


# How large it is


@pytest.mark.parametrize(("classes", "expected"), [(2, 101_038), (4, 101_048)])
def test_number_of_parameters(classes: int, expected: int) -> None:
    assert numbers(UNet(classes=classes)) == expected


def test_number_of_parameters_of_its_parts() -> None:
    network = UNet()
    assert numbers(network.encoder) + numbers(network.bottom) == 55_472
    assert numbers(network.decoder) + numbers(network.head) == 45_576
    last_three = (network.decoder["1"].conv1, network.decoder["1"].conv2, network.head)
    assert sum(map(numbers, last_three)) == 1_324
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm3d)]
    assert sum(map(numbers, norms)) == 168
    assert numbers(network.encoder["1"].conv1) == 436
    assert numbers(network.head) == 20


@pytest.mark.parametrize(("filters", "expected"), [(8, 402_540), (16, 1_606_868), (32, 6_420_900)])
def test_a_wider_network(filters: int, expected: int) -> None:
    with torch.device("meta"):
        assert numbers(UNet(base_filters=filters)) == expected


@pytest.mark.parametrize(("steps", "multiple"), [(2, 2), (3, 4), (4, 8), (5, 16)])
def test_every_further_step_halves_the_grid_once_more(steps: int, multiple: int) -> None:
    network = UNet(1, 2, base_filters=1, steps=steps)
    assert network.multiple == multiple
    with torch.no_grad():
        assert network(torch.zeros(1, 1, multiple, 2 * multiple, multiple)).shape[2:] == (
            multiple,
            2 * multiple,
            multiple,
        )


@pytest.mark.parametrize(
    "parameters", [{"in_channels": 0}, {"classes": 1}, {"base_filters": 0}, {"steps": 1}, {"steps": -1}]
)
def test_a_network_that_makes_no_sense_is_refused(parameters: dict[str, int]) -> None:
    with pytest.raises(InputError, match="cannot be built"):
        UNet(**parameters)


# What it takes


def test_a_good_shape_passes() -> None:
    check_input_shape(UNet(), (1, 4, 240, 192, 192))
    check_input_shape(UNet(), (3, 4, 8, 16, 24))


def test_sides_that_do_not_divide_are_refused_with_the_sides_to_pad_to() -> None:
    with pytest.raises(InputError) as caught:
        check_input_shape(UNet(), (1, 4, 229, 193, 192))
    assert str(caught.value) == "The sides (229, 193, 192) do not divide by 8. Pad the image to (232, 200, 192)."


@pytest.mark.parametrize("shape", [(1, 3, 8, 8, 8), (4, 8, 8, 8), (1, 4, 8, 8), (1, 1, 4, 8, 8, 8)])
def test_other_channels_or_dimensions_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"The network takes \(N, 4, i, j, k\)"):
        check_input_shape(UNet(), shape)


# Batch norm that can be fixed


def test_a_fixed_batch_norm_uses_and_keeps_its_statistics_through_train() -> None:
    norm = FixableBatchNorm3d(2)
    norm.fixed = True
    assert norm.train() is norm
    before = {name: tensor.clone() for name, tensor in norm.state_dict().items()}
    x = 5 + 3 * image(4, 4, 4, channels=2)
    torch.testing.assert_close(
        norm(x).detach(), x, rtol=1e-4, atol=1e-4
    )  # mean 0 and variance 1 are what it starts with
    assert all(torch.equal(before[name], tensor) for name, tensor in norm.state_dict().items())


def test_a_fixed_batch_norm_stays_fixed_when_the_whole_network_is_set_to_train() -> None:
    network = UNet()
    network.encoder["1"].norm.fixed = True
    network.eval()
    network.train()
    training = {name for name, module in network.named_modules() if name in NORMS and module.training}
    assert training == NORMS - {"encoder.1.norm"}


def test_a_batch_norm_that_is_not_fixed_is_that_of_pytorch() -> None:
    ours, theirs = FixableBatchNorm3d(2), nn.BatchNorm3d(2)
    x = 5 + 3 * image(4, 4, 4, channels=2)
    torch.testing.assert_close(ours.train()(x), theirs.train()(x), rtol=0, atol=0)
    assert all(torch.equal(tensor, theirs.state_dict()[name]) for name, tensor in ours.state_dict().items())
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=0, atol=0)


def test_it_runs_in_bfloat16_close_to_float32() -> None:
    network = make_network().eval()
    x = image(16, 16, 16)
    with torch.no_grad():
        exact = network(x)
        with torch.autocast("cpu", torch.bfloat16):
            rough = network(x).float()
    assert (rough - exact).abs().max() < 0.05 * exact.abs().max()


# Statistics of each image


def test_with_the_statistics_of_each_image_it_computes_in_evaluation_what_it_does_in_training_with_one_image() -> None:
    running, own = make_network(), make_network(statistics="image")
    own.load_state_dict(running.state_dict())
    for x in image(16, 8, 24, batch=2).split(1):
        with torch.no_grad():
            expected = running.train()(x)
            for training in (True, False):
                torch.testing.assert_close(own.train(training)(x), expected, rtol=1e-4, atol=1e-5)


def test_with_the_statistics_of_each_image_the_others_in_the_batch_do_not_matter() -> None:
    network = make_network(statistics="image").train()
    x = image(16, 16, 16, batch=3)
    with torch.no_grad():
        together = network(x)
        for index in range(3):
            torch.testing.assert_close(together[index : index + 1], network(x[index : index + 1]), rtol=1e-4, atol=1e-5)


def test_with_the_statistics_of_each_image_running_ones_are_neither_used_nor_changed() -> None:
    network = make_network(statistics="image").train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    x = image(16, 16, 16)
    with torch.no_grad():
        expected = network(x)
        assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
        for name in NORMS:
            network.get_submodule(name).running_mean.add_(5)  # type: ignore[union-attr, operator]
        assert torch.equal(network(x), expected)


def test_whose_statistics_changes_no_tensor_of_the_network() -> None:
    shapes = [{name: t.shape for name, t in UNet(statistics=s).state_dict().items()} for s in ("running", "image")]
    assert shapes[0] == shapes[1]


def test_unknown_statistics_are_refused() -> None:
    with pytest.raises(InputError, match="no statistics 'batch'"):
        UNet(statistics="batch")


def test_the_gradients_in_bfloat16_with_channels_last_are_those_of_float32() -> None:
    """PyTorch 2.13's instance_norm, which would be the obvious choice, gives others (cosine 0.75 on a real case)."""
    torch.manual_seed(0)
    weights = UNet(classes=2, statistics="image").state_dict()
    image = torch.randn(1, 4, 24, 32, 24)
    # A coherent target: gradients that nearly cancel would be noise in any precision.
    target = (image[:, 3] > 0.5).long()

    def gradient(layout: torch.memory_format, precise: bool) -> torch.Tensor:
        network = UNet(classes=2, statistics="image")
        network.load_state_dict(weights)
        network.to(memory_format=layout)  # type: ignore[call-overload]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=not precise):
            logits = network(image.contiguous(memory_format=layout))
        functional.cross_entropy(logits.float(), target).backward()
        return torch.cat([parameter.grad.reshape(-1) for parameter in network.parameters()])

    exact = gradient(torch.contiguous_format, precise=True)
    found = gradient(torch.channels_last_3d, precise=False)
    assert functional.cosine_similarity(exact, found, dim=0) > 0.99


@pytest.mark.parametrize("statistics", ["running", "image"])
def test_the_statistics_of_a_large_image_are_exact_with_channels_last(statistics: str) -> None:
    """PyTorch 2.13's batch_norm sums naively in this layout: over 128^3 voxels it is off by 1e-3."""
    image = torch.rand(1, 4, 128, 128, 128) * 3 + 5
    norm = FixableBatchNorm3d(4, statistics)
    with torch.no_grad() if statistics == "running" else torch.enable_grad():
        found = norm(image.contiguous(memory_format=torch.channels_last_3d)).detach()
    exact = (image.double() - image.double().mean((2, 3, 4), True)) / image.double().std((2, 3, 4), keepdim=True)
    assert found.is_contiguous(memory_format=torch.channels_last_3d)
    assert (found - exact).abs().max() < 5e-5
