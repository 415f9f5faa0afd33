"""What is told before a training that sees parts of images, while its validation sees whole ones."""

from __future__ import annotations

from pathlib import Path

import brains
import pytest
from test_plan import plan_of
from test_training import recipe

from TransferSegLib import announcement
from TransferSegLib.announcement import announce
from TransferSegLib.errors import ResourceError
from TransferSegLib.events import Planned
from TransferSegLib.memory import BASE_BYTES, inference_bytes, training_bytes
from TransferSegLib.network import UNet
from TransferSegLib.preprocess import Prepared

TRAINING = [brains.prepared(seed) for seed in (1, 2)]
VALIDATION = [brains.prepared(3), brains.prepared(4, shape=(20, 24, 31))]  # padded to 24 x 24 x 32


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(announcement, "trial_step", lambda *_: (100.0, 7.0))
    return brains.write_dataset(tmp_path, 4)


def told(data: Path, patch: int, validating: list[Prepared] = VALIDATION) -> Planned:
    plan = plan_of(data, recipe=recipe(epochs=2, patch=patch), validation=0.5)
    return announce(plan, UNet(**plan.network_parameters), [], TRAINING, validating)[1]


def test_the_memory_is_that_of_the_training_or_of_the_largest_validation_case(data: Path) -> None:
    whole = (inference_bytes(24 * 24 * 32, 4, 4) + BASE_BYTES) / 2**30
    assert inference_bytes(24 * 24 * 32, 4, 4) > training_bytes(16**3, "float32")
    assert told(data, patch=16).memory_gb == pytest.approx(whole, abs=1e-3)
    patches = (training_bytes(16**3, "float32") + BASE_BYTES) / 2**30
    assert told(data, patch=16, validating=[]).memory_gb == pytest.approx(patches, abs=1e-3)
    assert told(data, patch=96).memory_gb == pytest.approx(
        (training_bytes(96**3, "float32") + BASE_BYTES) / 2**30, abs=1e-3
    )


def test_the_time_of_a_validation_is_that_of_its_voxels(data: Path) -> None:
    passes = (16**3 + 24 * 24 * 32) / 16**3
    assert told(data, patch=16).seconds == pytest.approx(2 * (2 * 100 + passes * 7), abs=0.1)


def test_when_the_validation_is_what_does_not_fit_smaller_patches_are_no_remedy(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcement, "available_bytes", lambda: BASE_BYTES + training_bytes(16**3, "float32"))
    told(data, patch=16, validating=[])
    with pytest.raises(ResourceError, match=r"The validation needs about 0\.5 GB .*--spacing 2.*--validation 0"):
        told(data, patch=16)
