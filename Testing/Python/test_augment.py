"""Augmentation: image, brain and label stay together, and everything random follows from the seed."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from brains import make_brain
from torch import Tensor

from TransferSegLib.augment import augment
from TransferSegLib.recipe import AUGMENTATIONS

ALL = tuple(AUGMENTATIONS)
COLOURS = ("bias", "gamma", "shift", "noise")
SEEDS = range(12)
Triple = tuple[Tensor, Tensor, Tensor]


def sample(seed: int = 0, shape: tuple[int, int, int] = (24, 24, 24)) -> Triple:
    """A z-scored brain whose tumour lies in the half of the low i."""
    image, brain, label = make_brain(seed, shape=shape)
    image = (image - 100) / 20 * brain
    return torch.from_numpy(image.astype(np.float32)), torch.from_numpy(brain), torch.from_numpy(label.astype(np.int64))


def marked() -> Triple:
    """A sample whose image is its label: what happens to one can be seen in the other."""
    _, brain, label = sample(shape=(32, 32, 32))
    return (label > 0)[None].float() * 2, brain, label


def dice(a: Tensor, b: Tensor) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def same(a: Triple, b: Triple) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("name", ALL)
def test_the_same_seed_gives_the_same_sample(name: str) -> None:
    augment(*sample(), (name,), (99,))  # what came before does not matter
    first = [augment(*sample(), (name,), (0, seed)) for seed in SEEDS]
    augment(*sample(), ALL, (98,))
    torch.manual_seed(1)
    np.random.seed(1)
    assert all(
        same(augment(*sample(), (name,), (0, seed)), expected) for seed, expected in zip(SEEDS, first, strict=True)
    )


@pytest.mark.parametrize("name", ALL)
def test_another_seed_gives_another_sample_and_every_augmentation_does_something(name: str) -> None:
    results = [augment(*sample(), (name,), (0, seed)) for seed in SEEDS]
    different = {tuple(np.round(image.flatten()[::7].tolist(), 6)) for image, _, _ in results}
    assert len(different) >= 2
    assert any(not torch.equal(image, sample()[0]) for image, _, _ in results)


@pytest.mark.parametrize("name", ["affine", *COLOURS])
def test_each_part_of_the_seed_counts(name: str) -> None:
    images = [augment(*sample(), (name,), seed)[0] for seed in product(range(4), range(4))]
    assert len({float(image.double().sum()) for image in images}) >= 4


def test_the_global_random_numbers_are_left_alone() -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    expected = float(torch.rand(1)), float(np.random.rand())
    torch.manual_seed(5)
    np.random.seed(5)
    augment(*sample(), ALL, (1, 2, 3))
    assert (float(torch.rand(1)), float(np.random.rand())) == expected


def test_without_names_nothing_happens() -> None:
    assert same(augment(*sample(), (), (1,)), sample())


def test_the_original_is_left_as_it_was() -> None:
    original = sample()
    for seed in SEEDS:
        augment(*original, ALL, (seed,))
    assert same(original, sample())


@pytest.mark.parametrize("names", [(name,) for name in ALL] + [ALL])
def test_shapes_types_background_and_labels_are_kept(names: tuple[str, ...]) -> None:
    for seed in SEEDS:
        image, brain, label = augment(*sample(shape=(24, 16, 20)), names, (seed,))
        assert (tuple(image.shape), tuple(brain.shape), tuple(label.shape)) == ((4, 24, 16, 20), *[(24, 16, 20)] * 2)
        assert (image.dtype, brain.dtype, label.dtype) == (torch.float32, torch.bool, torch.int64)
        assert type(image) is type(brain) is type(label) is Tensor
        assert torch.isfinite(image).all()
        assert (image[:, ~brain] == 0).all()
        assert set(label.unique().tolist()) <= {0, 1, 2, 3}
        assert brain.any()


def test_a_label_of_another_integer_type_keeps_it() -> None:
    image, brain, label = sample()
    for seed in SEEDS:
        assert augment(image, brain, label.to(torch.uint8), ALL, (seed,))[2].dtype == torch.uint8


def test_a_flip_swaps_left_and_right_of_image_brain_and_label_in_about_half_of_the_samples() -> None:
    original = sample()
    flipped = tuple(torch.flip(tensor, (-3,)) for tensor in original)
    results = [augment(*original, ("flip",), (seed,)) for seed in range(60)]
    turned = [same(result, flipped) for result in results]
    assert all(mirrored or same(result, original) for mirrored, result in zip(turned, results, strict=True))
    assert 15 <= sum(turned) <= 45


def test_an_affine_change_moves_image_brain_and_label_together() -> None:
    original = marked()
    moved = 0
    for seed in range(20):
        image, brain, label = augment(*original, ("affine",), (seed,))
        assert dice(image[0] > 1, label > 0) > 0.9, seed
        assert (brain & (label > 0)).sum() >= 0.95 * (label > 0).sum()
        moved += dice(label > 0, original[2] > 0) < 0.8
    assert moved >= 3


def test_an_affine_change_stays_within_what_the_help_says() -> None:
    place = np.indices((32, 32, 32))
    for seed in range(20):
        _, before, _ = original = marked()
        _, after, _ = augment(*original, ("affine",), (seed,))
        centres = [
            np.array([(axis * mask.numpy()).sum() for axis in place]) / mask.sum().item() for mask in (before, after)
        ]
        # Up to 8 voxels along each axis; the brain may leave the image at one side.
        assert np.abs(centres[1] - centres[0]).max() < 8.5
        assert 0.5 * 0.85**3 < after.sum() / before.sum() < 1.15**3 * 1.1


@pytest.mark.parametrize("name", COLOURS)
def test_a_change_of_colours_leaves_brain_and_label_alone(name: str) -> None:
    original = sample()
    for seed in SEEDS:
        image, brain, label = augment(*original, (name,), (seed,))
        assert torch.equal(brain, original[1])
        assert torch.equal(label, original[2])
        # Tissues can still be told apart: what was bright is bright.
        for before, after in zip(original[0], image, strict=True):
            inside = torch.stack((before[brain], after[brain]))
            assert torch.corrcoef(inside)[0, 1] > 0.6, (name, seed)


def test_channels_change_their_colours_independently() -> None:
    one, brain, label = sample()
    alike = one[:1].expand(4, -1, -1, -1).clone()
    image, _, _ = augment(alike, brain, label, ("shift",), (3,))
    assert len({float(channel.double().sum()) for channel in image}) == 4


def test_leaving_one_out_does_not_change_what_is_drawn_for_the_others() -> None:
    for seed in SEEDS:
        together = augment(*sample(), ("flip", "affine"), (seed,))
        with_colours = augment(*sample(), ("flip", "affine", *COLOURS), (seed,))
        assert torch.equal(together[1], with_colours[1])
        assert torch.equal(together[2], with_colours[2])
        alone = augment(*sample(), ("noise",), (seed,))
        after_gamma = augment(*sample(), ("gamma", "noise"), (seed,))
        noise = alone[0] - sample()[0]
        gamma = augment(*sample(), ("gamma",), (seed,))
        torch.testing.assert_close(after_gamma[0] - gamma[0], noise, rtol=0, atol=1e-5)


def test_the_order_of_names_does_not_matter() -> None:
    for seed in SEEDS:
        assert same(augment(*sample(), ALL, (seed,)), augment(*sample(), tuple(reversed(ALL)), (seed,)))
