"""Scores that choose the best epoch, on the working grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from brains import SCHEMES, prepared
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

from TransferSegLib.labels import GLIOMA, LESION
from TransferSegLib.network import UNet
from TransferSegLib.preprocess import Prepared
from TransferSegLib.validation import score, validate

CPU = torch.device("cpu")


class Oracle(nn.Module):
    """Answers with labels that it was told, one case after the other."""

    multiple = 8

    def __init__(self, *answers: np.ndarray, classes: int = 4) -> None:
        super().__init__()
        self.answers, self.classes = list(answers), classes

    def forward(self, x: Tensor) -> Tensor:
        answer = self.answers.pop(0)
        more = [(0, wanted - have) for wanted, have in zip(x.shape[2:], answer.shape, strict=True)]
        labels = torch.from_numpy(np.pad(answer, more).astype(np.int64))
        return 20 * nn.functional.one_hot(labels, self.classes).movedim(-1, 0)[None].float()


def label_of(case: Prepared) -> np.ndarray:
    assert case.label is not None
    return np.array(case.label)


def found(oracle: nn.Module, *cases: Prepared, disease: str = "glioma") -> dict[str, float]:
    return validate(oracle, cases, SCHEMES[disease], CPU, torch.float32)  # type: ignore[arg-type]


def test_a_perfect_answer_has_a_dice_of_one_in_every_region() -> None:
    case = prepared(1)
    assert found(Oracle(label_of(case)), case) == {"dice_whole": 1.0, "dice_core": 1.0, "dice_enhancing": 1.0}


def test_regions_are_unions_of_classes() -> None:
    case = prepared(1)
    label = label_of(case)
    values = found(Oracle(np.where(label > 0, 2, 0)), case)  # all of the tumour is called edema
    assert values == {"dice_whole": 1.0, "dice_core": 0.0, "dice_enhancing": 0.0}


def test_the_mean_is_taken_over_cases() -> None:
    first, second = prepared(1), prepared(2)
    values = found(Oracle(label_of(first), 0 * label_of(second)), first, second)
    assert values["dice_whole"] == 0.5


def test_only_the_brain_counts_and_cases_need_not_fit_the_network() -> None:
    case = prepared(1, shape=(17, 20, 13))
    answer = label_of(case)
    answer[~case.brain] = 1
    assert found(Oracle(answer), case)["dice_whole"] == 1.0


def test_with_lesions_the_pr_auc_is_that_over_all_voxels_of_all_brains() -> None:
    torch.manual_seed(0)
    network = UNet(4, 2).eval()
    cases = [prepared(seed, "lesion") for seed in (1, 2)]
    probability, reference = [], []
    for case in cases:
        with torch.no_grad():
            logits = network(torch.from_numpy(case.image)[None])[0]
        probability.append(logits.softmax(0)[1].numpy()[case.brain])
        reference.append(label_of(case)[case.brain] == 1)
    expected = average_precision_score(np.concatenate(reference), np.concatenate(probability))
    assert found(network, *cases, disease="lesion")["pr_auc"] == pytest.approx(expected, abs=0.005)


def test_without_any_lesion_the_pr_auc_is_undefined() -> None:
    case = prepared(1, "lesion")
    healthy = replace(case, label=0 * label_of(case))
    values = found(Oracle(label_of(healthy), classes=2), healthy, disease="lesion")
    assert values["dice_lesion"] == 1.0
    assert np.isnan(values["pr_auc"])


def test_without_cases_nothing_is_measured() -> None:
    assert found(UNet()) == {}


def test_it_leaves_the_network_as_it_was_but_in_evaluation_mode() -> None:
    network = UNet().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    found(network, prepared(1))
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not network.training


def test_the_score_is_the_sum_of_dice_or_the_pr_auc() -> None:
    assert score({"dice_whole": 0.9, "dice_core": 0.5, "dice_enhancing": 0.25, "loss": 9}, GLIOMA) == 1.65
    assert score({"dice_lesion": 0.9, "pr_auc": 0.4}, LESION) == 0.4
