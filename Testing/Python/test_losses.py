"""Class weights and losses against numbers worked out by hand, and against PyTorch."""

from __future__ import annotations

import math

import brains  # noqa: F401 - one thread
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from TransferSegLib import losses
from TransferSegLib.errors import InputError
from TransferSegLib.losses import class_weights, decayed_weights, soft_confusion

SHAPE = (4, 3, 5)
REGIONS = [(1, 2, 3), (1, 3), (3,)]
EACH = [(1,), (2,)]
SURE = 50.0  # a logit that leaves no doubt in float32


def sample(classes: int = 4, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits, target, weights, mask."""
    random = torch.Generator().manual_seed(seed)
    return (
        torch.randn(classes, *SHAPE, generator=random),
        torch.randint(classes, SHAPE, generator=random),
        1 + 10 * torch.rand(classes, generator=random),
        torch.rand(SHAPE, generator=random) < 0.6,
    )


def weighted_cross_entropy(logits: Tensor, target: Tensor, weights: Tensor, mask: Tensor | None = None) -> Tensor:
    return losses.weighted_cross_entropy(soft_confusion(logits, target, mask), weights)


def soft_dice_loss(
    logits: Tensor, target: Tensor, regions: list[tuple[int, ...]], mask: Tensor | None = None, smooth: float = 1.0
) -> Tensor:
    return losses.soft_dice_loss(soft_confusion(logits, target, mask), regions, smooth)


def sure_of(labels: list[int], classes: int = 3) -> Tensor:
    """Logits (F, n, 1, 1) that leave no doubt about these labels."""
    return SURE * functional.one_hot(torch.tensor(labels), classes).T.reshape(classes, -1, 1, 1).float()


def volume(labels: list[int]) -> Tensor:
    return torch.tensor(labels).reshape(-1, 1, 1)


# Class weights


def test_a_weight_is_all_voxels_over_those_of_the_class() -> None:
    torch.testing.assert_close(
        class_weights([900, 60, 30, 10]), torch.tensor([1000 / 900, 1000 / 60, 1000 / 30, 100.0])
    )


def test_weights_are_those_the_paper_notes_expect_for_a_small_lesion() -> None:
    voxels = 240 * 192 * 192
    assert class_weights([voxels - 10_000, 10_000])[1] == pytest.approx(885, abs=0.5)
    assert class_weights([voxels - 20_000, 20_000])[1] == pytest.approx(442, abs=0.5)


def test_a_class_without_a_voxel_is_named() -> None:
    with pytest.raises(InputError) as caught:
        class_weights([900, 0, 30, 0], ("background", "necrotic", "edema", "enhancing"))
    assert caught.value.cause == "No training case has a voxel of necrotic, enhancing."
    assert caught.value.remedy
    with pytest.raises(InputError, match="a voxel of 1"):
        class_weights([900, 0])


def test_weights_fall_from_the_ratio_to_one() -> None:
    weights = torch.tensor([1.25, 101.0])
    assert decayed_weights(weights, 0.9, 0).tolist() == [1.25, 101.0]
    torch.testing.assert_close(decayed_weights(weights, 0.9, 1), torch.tensor([1.225, 91.0]))
    torch.testing.assert_close(decayed_weights(weights, 0.9, 2), torch.tensor([1.2025, 82.0]))
    torch.testing.assert_close(decayed_weights(weights, 0.9, 1000), torch.ones(2))


def test_the_labs_other_formula_starts_one_higher() -> None:
    weights = torch.tensor([1.25, 100.0])
    assert decayed_weights(weights, 0.9, 0, "plus-one").tolist() == [2.25, 101.0]
    torch.testing.assert_close(decayed_weights(weights, 0.9, 1, "plus-one"), torch.tensor([2.125, 91.0]))
    torch.testing.assert_close(decayed_weights(weights, 0.9, 1000, "plus-one"), torch.ones(2))


@pytest.mark.parametrize("form", ["to-one", "plus-one"])
def test_weights_never_rise_nor_fall_below_one(form: str) -> None:
    weights = torch.tensor([1.0, 1.01, 442.0])
    rows = torch.stack([decayed_weights(weights, 0.95, epoch, form) for epoch in range(200)])
    assert (rows[1:] <= rows[:-1]).all()
    assert (rows >= 1).all()


def test_a_decay_of_one_keeps_the_weights() -> None:
    weights = torch.tensor([1.25, 101.0])
    assert torch.equal(decayed_weights(weights, 1.0, 500), weights)


def test_the_weight_of_20_ml_falls_below_one_and_a_half_at_the_epochs_of_the_paper_notes() -> None:
    for decay, epoch in ((0.95, 133), (0.9, 65)):
        weights = [float(decayed_weights(torch.tensor([442.0]), decay, e)) for e in range(200)]
        assert next(e for e, weight in enumerate(weights) if weight < 1.5) == pytest.approx(epoch, abs=1)


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(InputError, match="no form of decay 'linear'"):
        decayed_weights(torch.ones(2), 0.9, 0, "linear")


# What both losses are made of


def test_the_sums_are_those_over_the_voxels_of_each_label() -> None:
    # Label 1 twice, found with probability 1/4 and 3/4; label 0 once, with 1/2; and one voxel that does not count.
    logits = torch.tensor([[3.0, 1.0, 1.0, 1.0], [1.0, 3.0, 1.0, 7.0]]).log().reshape(2, 4, 1, 1)
    mask = torch.tensor([True, True, True, False]).reshape(-1, 1, 1)
    found = soft_confusion(logits, volume([1, 1, 0, 0]), mask)
    assert found.voxels.tolist() == [1, 2]
    torch.testing.assert_close(found.log_likelihood, torch.tensor([0.5, 3 / 16]).log())
    torch.testing.assert_close(found.probability, torch.tensor([[0.5, 0.5], [1.0, 1.0]]))


def test_sums_over_many_voxels_are_exact_to_five_digits() -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 200, 200, 160, generator=random) + 3
    target = torch.randint(2, logits.shape[1:], generator=random)
    found = soft_confusion(logits, target)
    one_hot = functional.one_hot(target.flatten(), 2).double()
    probability = logits.double().flatten(1).softmax(0)
    torch.testing.assert_close(found.voxels.double(), one_hot.sum(0))
    torch.testing.assert_close(found.probability.double(), (probability @ one_hot).T, rtol=1e-5, atol=0)
    expected = (one_hot * probability.log().T).sum(0)
    torch.testing.assert_close(found.log_likelihood.double(), expected, rtol=1e-5, atol=0)


# Weighted cross-entropy


def test_cross_entropy_by_hand() -> None:
    # Two voxels: class 0 found with probability 3/4, class 1 with 1/5.
    logits = torch.tensor([[3.0, 4.0], [1.0, 1.0]]).log().reshape(2, 2, 1, 1)
    weights = torch.tensor([1.0, 10.0])
    expected = (1 * math.log(4 / 3) + 10 * math.log(5)) / (1 + 10)
    assert float(weighted_cross_entropy(logits, volume([0, 1]), weights)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("classes", [2, 4])
def test_cross_entropy_is_that_of_pytorch(classes: int) -> None:
    logits, target, weights, _ = sample(classes)
    expected = functional.cross_entropy(logits[None], target[None], weights)
    torch.testing.assert_close(weighted_cross_entropy(logits, target, weights), expected)


def test_voxels_outside_of_the_mask_do_not_count() -> None:
    logits, target, weights, mask = sample()
    expected = functional.cross_entropy(logits.flatten(1).T[mask.flatten()], target[mask], weights)
    torch.testing.assert_close(weighted_cross_entropy(logits, target, weights, mask), expected)
    torch.testing.assert_close(weighted_cross_entropy(logits * mask, target * mask, weights, mask), expected)
    assert weighted_cross_entropy(logits, target, weights) != expected


def test_a_heavier_class_counts_more() -> None:
    logits, target = sure_of([0, 0], 2) / SURE, volume([0, 1])
    light, heavy = (weighted_cross_entropy(logits, target, torch.tensor([1.0, weight])) for weight in (1, 100))
    assert heavy > light


def test_losses_of_bfloat16_logits_are_computed_in_float32() -> None:
    logits, target, weights, mask = sample()
    rounded = logits.bfloat16()
    for found, expected in (
        (
            weighted_cross_entropy(rounded, target, weights, mask),
            weighted_cross_entropy(rounded.float(), target, weights, mask),
        ),
        (soft_dice_loss(rounded, target, REGIONS, mask), soft_dice_loss(rounded.float(), target, REGIONS, mask)),
    ):
        assert found.dtype == torch.float32
        assert torch.equal(found, expected)


# Soft Dice


def test_dice_loss_by_hand() -> None:
    # Class 1: found in 2 of 3 voxels and in one more; class 2: the one voxel is missed.
    target, found = volume([1, 1, 1, 0, 2]), sure_of([1, 1, 0, 1, 0])
    dice_1, dice_2 = (2 * 2 + 1) / (3 + 3 + 1), (2 * 0 + 1) / (0 + 1 + 1)
    assert float(soft_dice_loss(found, target, EACH)) == pytest.approx(1 - (dice_1 + dice_2) / 2, abs=1e-6)


def test_the_classes_of_a_region_count_as_one_in_the_dice_loss() -> None:
    target, found = volume([1, 2, 2, 0]), sure_of([2, 1, 0, 1])
    whole, second = (2 * 2 + 1) / (3 + 3 + 1), (2 * 0 + 1) / (1 + 2 + 1)
    assert float(soft_dice_loss(found, target, [(1, 2)])) == pytest.approx(1 - whole, abs=1e-6)
    assert float(soft_dice_loss(found, target, [(1, 2), (2,)])) == pytest.approx(1 - (whole + second) / 2, abs=1e-6)


def test_dice_loss_of_soft_probabilities_by_hand() -> None:
    logits = torch.tensor([[3.0, 1.0], [1.0, 3.0]]).log().reshape(2, 2, 1, 1)  # class 1 with 1/4 and 3/4
    expected = 1 - (2 * 0.75 + 0.5) / (0.25 + 0.75 + 1 + 0.5)
    assert float(soft_dice_loss(logits, volume([0, 1]), [(1,)], smooth=0.5)) == pytest.approx(expected, abs=1e-6)


def test_dice_loss_is_0_when_all_is_found_and_an_absent_class_that_is_not_predicted_counts_as_found() -> None:
    labels = [0, 1, 1, 0]
    assert float(soft_dice_loss(sure_of(labels), volume(labels), EACH)) == pytest.approx(0, abs=1e-6)
    assert float(soft_dice_loss(sure_of([0, 0]), volume([0, 0]), EACH)) == pytest.approx(0, abs=1e-6)


def test_the_background_does_not_count_in_the_dice_loss() -> None:
    target = volume([0] * 50 + [1])
    few, many = sure_of([0] * 51, 2), sure_of([1] * 50 + [0], 2)
    assert float(soft_dice_loss(few, target, [(1,)])) == pytest.approx(0.5, abs=1e-6)  # (0 + 1) / (0 + 1 + 1)
    assert soft_dice_loss(many, target, [(1,)]) > 0.9


def test_the_dice_loss_does_not_count_voxels_outside_of_the_mask() -> None:
    logits, target, _, mask = sample()
    i = torch.where(mask.flatten())[0]
    expected = soft_dice_loss(logits.flatten(1)[:, i, None, None], target.flatten()[i, None, None], REGIONS)
    torch.testing.assert_close(soft_dice_loss(logits, target, REGIONS, mask), expected)


def test_both_losses_pull_every_class_towards_the_target() -> None:
    logits, target, weights, mask = sample()
    for loss in (
        weighted_cross_entropy(logits.requires_grad_(), target, weights, mask),
        soft_dice_loss(logits, target, REGIONS, mask),
    ):
        (gradient,) = torch.autograd.grad(loss, logits, retain_graph=True)
        assert (gradient[:, ~mask] == 0).all()
        right = gradient.gather(0, target[None])[0]
        assert (right[mask & (target > 0)] < 0).all()  # more of the right class: less loss


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 10**7), min_size=2, max_size=5))
def test_every_class_weighs_the_same_in_total_at_the_start(counts: list[int]) -> None:
    together = class_weights(counts).numpy() * np.array(counts)
    np.testing.assert_allclose(together, sum(counts), rtol=1e-5)
