"""Slabs: the network's answer for the whole image, computed in parts, whatever it normalises by."""

import pytest
import torch

from TransferSegLib.network import FixableBatchNorm3d, UNet
from TransferSegLib.slabs import forward_in_slabs

torch.set_num_threads(1)


def make_network(statistics, steps=4, base_filters=4):
    """Random weights, and statistics that are not those of the image."""
    torch.manual_seed(0)
    network = UNet(2, 3, base_filters, steps, statistics).eval()
    for module in network.modules():
        if isinstance(module, FixableBatchNorm3d):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.001, 0.01)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
    return network


def make_image(shape, seed=0):
    """Brighter towards one end, so that no part has the statistics of the whole."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, 2, *shape, generator=generator) + torch.linspace(-2, 2, shape[2])


@pytest.mark.parametrize("statistics", ["running", "image"])
class TestSameAnswer:
    @torch.inference_mode()
    @pytest.mark.parametrize("thickness", [2, 8, 12, 100])
    @pytest.mark.parametrize("shape", [(16, 24, 32), (8, 16, 40)])
    def test_as_for_the_whole_image_at_the_seams_and_borders_too(self, statistics, shape, thickness):
        network, image = make_network(statistics), make_image(shape)
        whole, found = network(image), forward_in_slabs(network, image, thickness)
        assert found.shape == whole.shape
        assert whole.std() > 0.05
        assert (found - whole).abs().max() < 1e-5 * whole.abs().max()

    @torch.inference_mode()
    @pytest.mark.parametrize("steps", [2, 3, 5])
    def test_for_networks_of_any_depth(self, statistics, steps):
        network, image = make_network(statistics, steps, base_filters=1), make_image((16, 16, 32))
        whole = network(image)
        assert (forward_in_slabs(network, image, 4) - whole).abs().max() < 1e-5 * whole.abs().max()

    @torch.inference_mode()
    def test_the_network_is_left_as_it_was(self, statistics):
        network, image = make_network(statistics), make_image((8, 8, 16))
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        other = forward_in_slabs(network, make_image((8, 8, 16), seed=1), 4)
        whole = network(image)
        assert not torch.equal(other, whole)
        assert (forward_in_slabs(network, image, 4) - whole).abs().max() < 1e-5 * whole.abs().max()
        for name, tensor in network.state_dict().items():
            assert torch.equal(tensor, before[name]), name

    @torch.inference_mode()
    def test_in_bfloat16_within_its_rounding(self, statistics):
        network, image = make_network(statistics), make_image((16, 16, 32))
        with torch.autocast("cpu", torch.bfloat16):
            whole, found = network(image).float(), forward_in_slabs(network, image, 8).float()
        assert (found - whole).abs().max() < 0.05 * whole.abs().max()


@torch.inference_mode()
def test_nothing_at_full_resolution_is_larger_than_a_slab_but_image_and_answer(monkeypatch):
    network, image = make_network("image"), make_image((16, 24, 64))
    largest = []
    for module in network.modules():
        if isinstance(module, torch.nn.Conv3d | torch.nn.ConvTranspose3d):
            module.register_forward_hook(
                lambda _, inputs, output: largest.append(max(inputs[0].numel(), output.numel()))
            )
    forward_in_slabs(network, image, 8)
    # Eight layers and two to four on each side, of at most eight channels.
    assert max(largest) <= 8 * 16 * 24 * (8 + 8)
