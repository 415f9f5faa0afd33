"""What the network sees: whole cases, or patches that over-sample the foreground."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from brains import prepared
from hypothesis import given, settings
from hypothesis import strategies as st

from TransferSegLib.sampling import FOREGROUND_SHARE, draw_sample, epoch_order

ODD = (20, 13, 17)


def where_from(seed: int, patch: int, shape: tuple[int, int, int] = (40, 24, 32)) -> tuple[int, int, int]:
    """The corner of the case that a patch was cut from, told by an image that counts its voxels."""
    case = prepared(0, shape=shape)
    counting = np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(1, *shape)
    image = draw_sample(replace(case, image=counting), patch, 8, (seed,)).image
    return tuple(int(index) for index in np.unravel_index(int(image[0, 0, 0, 0]) - 1, shape))


# Whole cases


def test_a_whole_case_is_padded_at_the_high_end_to_sides_that_divide() -> None:
    case = prepared(0, shape=ODD)
    sample = draw_sample(case, 0, 8, (1,))
    assert tuple(sample.image.shape) == (4, 24, 16, 24)
    assert tuple(sample.brain.shape) == tuple(sample.label.shape) == (24, 16, 24)
    assert (sample.image[:, :20, :13, :17].numpy() == case.image).all()
    assert (sample.brain[:20, :13, :17].numpy() == case.brain).all()
    assert (sample.label[:20, :13, :17].numpy() == case.label).all()
    outside = torch.ones(24, 16, 24, dtype=torch.bool)
    outside[:20, :13, :17] = False
    assert not sample.image[:, outside].any()
    assert not sample.brain[outside].any()
    assert not sample.label[outside].any()


def test_a_whole_case_that_fits_is_left_as_it_is_and_is_the_same_for_every_seed() -> None:
    case = prepared(0)
    first, second = (draw_sample(case, 0, 8, seed) for seed in ((), (5, 6)))
    assert tuple(first.image.shape[1:]) == case.brain.shape
    assert torch.equal(first.image, second.image)
    assert torch.equal(first.label, second.label)


def test_types_are_those_the_network_and_the_loss_take() -> None:
    for patch in (0, 16):
        sample = draw_sample(prepared(0), patch, 8, (1,))
        assert (sample.image.dtype, sample.brain.dtype, sample.label.dtype) == (torch.float32, torch.bool, torch.int64)


@pytest.mark.parametrize("patch", [0, 16])
def test_a_sample_is_a_copy_of_a_case_that_cannot_be_written(patch: int) -> None:
    case = prepared(0)
    for array in (case.image, case.brain, case.label):
        assert array is not None
        array.setflags(write=False)
    sample = draw_sample(case, patch, 8, (1,))
    sample.image.add_(1)
    sample.label.zero_()
    assert np.array_equal(case.image, prepared(0).image)
    assert case.label is not None
    assert case.label.any()


# Patches


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), patch=st.sampled_from([16, 24]))
def test_a_patch_lies_inside_of_the_case(seed: int, patch: int) -> None:
    shape = (40, 24, 32)
    case = prepared(0, shape=shape)
    sample = draw_sample(case, patch, 8, (seed,))
    assert tuple(sample.image.shape) == (4, patch, patch, patch)
    i, j, k = where_from(seed, patch)
    window = (slice(i, i + patch), slice(j, j + patch), slice(k, k + patch))
    assert all(0 <= start <= side - patch for start, side in zip((i, j, k), shape, strict=True))
    assert (sample.image.numpy() == case.image[:, *window]).all()
    assert (sample.brain.numpy() == case.brain[window]).all()
    assert case.label is not None
    assert (sample.label.numpy() == case.label[window]).all()


def test_a_side_shorter_than_the_patch_is_padded() -> None:
    case = prepared(0, shape=(40, 12, 16))
    for seed in range(20):
        sample = draw_sample(case, 16, 8, (seed,))
        assert tuple(sample.image.shape) == (4, 16, 16, 16)
        assert not sample.image[:, :, 12:].any()
        assert not sample.brain[:, 12:].any()


def test_the_same_seed_gives_the_same_patch_and_another_seed_another() -> None:
    assert where_from(3, 16) == where_from(3, 16)
    assert len({where_from(seed, 16) for seed in range(20)}) > 10


def test_two_thirds_of_the_patches_are_centred_on_the_foreground_with_each_class_alike() -> None:
    # One voxel of class 1, many of class 2, in opposite corners; the brain is all else.
    shape = (64, 64, 64)
    label = np.zeros(shape, np.uint8)
    label[8, 8, 8] = 1
    label[50:, 50:, 50:] = 2
    case = replace(
        prepared(0, shape=shape), image=np.zeros((1, *shape), np.float32), brain=np.ones(shape, bool), label=label
    )
    draws = 300
    found: Counter[int] = Counter()
    for seed in range(draws):
        inside = draw_sample(case, 16, 8, (seed,)).label
        found[int(inside[8, 8, 8]) or int((inside == 2).any()) * 2] += 1
    assert FOREGROUND_SHARE == 2 / 3
    assert found[1] / draws == pytest.approx(1 / 3, abs=0.08)
    assert found[2] / draws == pytest.approx(1 / 3 + 1 / 3 * (14 / 64) ** 3, abs=0.08)


def test_a_case_without_foreground_gives_patches_of_its_brain() -> None:
    case = prepared(0, shape=(48, 48, 48))
    assert case.label is not None
    healthy = replace(case, label=np.zeros_like(case.label))
    for seed in range(10):
        sample = draw_sample(healthy, 16, 8, (seed,))
        assert sample.brain.any()
        assert not sample.label.any()


# Epochs


def test_an_epoch_has_every_case_as_often_as_asked() -> None:
    assert sorted(epoch_order(5, 3, 0, 0)) == sorted([0, 1, 2, 3, 4] * 3)
    assert sorted(epoch_order(7, 1, 4, 9)) == list(range(7))


def test_the_order_follows_from_seed_and_epoch() -> None:
    orders = [tuple(epoch_order(8, 1, seed, epoch)) for seed in range(4) for epoch in range(4)]
    assert orders == [tuple(epoch_order(8, 1, seed, epoch)) for seed in range(4) for epoch in range(4)]
    assert len(set(orders)) == 16
