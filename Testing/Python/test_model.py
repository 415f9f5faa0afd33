"""A model: what is written comes back, and the network built from it computes what the trained one did."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from model_examples import card_fields, small_model, small_weights

import TransferSegLib.bundle as bundle_module
from TransferSegLib.bundle import WEIGHTS
from TransferSegLib.errors import InputError, ModelError
from TransferSegLib.labels import GLIOMA
from TransferSegLib.model import Model, expected_shapes, load_model, new_model, save_model, verify_model
from TransferSegLib.network import UNet


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good model."""
    return save_model(small_model(), tmp_path / "glioma")


@pytest.fixture
def trained() -> Model:
    """A model whose weights fit the network of its card."""
    torch.manual_seed(0)
    return new_model(card_fields(), UNet().state_dict())


# What is written comes back


@pytest.mark.parametrize("name", ["glioma", "glioma.zip", "new/folder/glioma.ZIP", "with space é"])
def test_a_saved_model_is_loaded_as_it_was(tmp_path: Path, name: str) -> None:
    model = small_model()
    path = save_model(model, tmp_path / name)
    loaded = load_model(path)
    assert loaded.card == model.card
    assert loaded.path == path == tmp_path / name
    assert list(loaded.weights) == sorted(model.weights)
    for tensor, array in model.weights.items():
        np.testing.assert_array_equal(loaded.weights[tensor], array, strict=True)


def test_a_model_knows_its_labels_its_name_and_its_hash(folder: Path) -> None:
    model = load_model(folder)
    assert model.scheme == GLIOMA
    assert model.name == "glioma-ft-all"
    assert model.sha256 == hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    assert load_model(model) is model


def test_equal_models_give_equal_files(tmp_path: Path) -> None:
    first = save_model(small_model(), tmp_path / "a.zip")
    reordered = new_model(card_fields(), dict(reversed(small_weights().items())))
    second = save_model(reordered, tmp_path / "b.zip")
    third = save_model(load_model(first), tmp_path / "c.zip")
    assert first.read_bytes() == second.read_bytes() == third.read_bytes()


def test_a_transposed_array_is_not_scrambled(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    path = save_model(new_model(card_fields(), {"a": array}), tmp_path / "m")
    np.testing.assert_array_equal(load_model(path).weights["a"], array)


def test_later_changes_of_the_arrays_do_not_reach_the_model() -> None:
    weights = small_weights()
    model = new_model(card_fields(), weights)
    weights["conv.weight"][:] = 0
    assert model.weights["conv.weight"].any()


def test_the_card_on_disk_has_the_hash_of_the_weights_beside_it(tmp_path: Path) -> None:
    model = small_model()
    other = dataclasses.replace(model, weights={"a": np.ones(3, np.float32)})
    assert load_model(save_model(other, tmp_path / "m")).sha256 != model.sha256


def test_weights_that_cannot_be_kept_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="The tensor 'a' holds float64"):
        new_model(card_fields(), {"a": np.ones(3)})
    with pytest.raises(ModelError, match="The tensor 'a' holds NaN"):
        new_model(card_fields(), {"a": np.float32([np.nan])})
    with pytest.raises(ModelError, match="no tensors"):
        new_model(card_fields(), {})


def test_a_folder_with_other_files_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("three years of work")
    with pytest.raises(InputError, match="is a folder with other files in it"):
        save_model(small_model(), tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_an_older_model_is_replaced(folder: Path) -> None:
    save_model(small_model(version="2.0"), folder)
    assert load_model(folder).card.version == "2.0"
    assert [path.name for path in folder.parent.iterdir()] == ["glioma"]


def test_a_save_that_fails_leaves_the_old_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(Exception, match="The disk is full"):
        save_model(small_model(version="2.0"), folder)
    monkeypatch.undo()
    assert load_model(folder).card.version == "1.0"
    assert [path.name for path in folder.parent.iterdir()] == ["glioma"]


def test_a_model_is_found_in_the_folder_of_its_run(tmp_path: Path) -> None:
    save_model(small_model(), tmp_path / "run" / "model")
    (tmp_path / "run" / "log.csv").write_text("epoch,loss")
    assert load_model(tmp_path / "run").path == tmp_path / "run" / "model"


# The network


def test_a_built_network_computes_what_the_trained_one_did(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = UNet(classes=2, base_filters=2, steps=3)
    network(torch.rand(1, 4, 8, 8, 8))  # moves the running statistics
    network.eval()
    fields = card_fields(
        network={"in_channels": 4, "classes": 2, "base_filters": 2, "steps": 3},
        labels=GLIOMA.from_names("two", {"background": 0, "lesion": 1}),
    )
    path = save_model(new_model(fields, network.state_dict()), tmp_path / "m.zip")
    built = load_model(path).build()
    image = torch.rand(1, 4, 16, 8, 8)
    assert not built.training
    assert all(parameter.requires_grad for parameter in built.parameters())
    assert not any(tensor.is_meta for tensor in (*built.parameters(), *built.buffers()))
    with torch.no_grad():
        assert torch.equal(built(image), network(image))


def test_training_a_built_network_does_not_change_the_model(trained: Model) -> None:
    network = trained.build()
    with torch.no_grad():
        network.head.weight.zero_()
    assert trained.weights["head.weight"].any()


def test_building_draws_no_random_numbers(trained: Model) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    trained.build()
    assert torch.equal(torch.rand(1), expected)


def test_the_expected_shapes_are_those_of_the_network(trained: Model) -> None:
    shapes = expected_shapes(trained.card.network)
    assert shapes == {name: tuple(tensor.shape) for name, tensor in UNet().state_dict().items()}


def test_weights_of_another_network_are_refused_with_the_tensor(trained: Model) -> None:
    def refused(**changes: np.ndarray | None) -> str:
        weights = {**trained.weights, **changes}
        model = new_model(card_fields(), {name: array for name, array in weights.items() if array is not None})
        with pytest.raises(ModelError) as caught:
            model.build()
        return caught.value.cause

    ones = np.ones(4, np.float32)
    assert refused(**{"head.weight": None}) == "The weights have no tensor 'head.weight'."
    assert refused(extra=ones) == "The weights have the tensor 'extra', which the network does not know."
    assert refused(**{"head.weight": ones}) == (
        "The weights have the tensor 'head.weight' with the shape (4,), the network needs (4, 4, 1, 1, 1)."
    )
    assert refused(**{"head.bias": ones.astype(np.int64)}) == (
        "The weights have the tensor 'head.bias' as int64, not torch.float32."
    )


def test_verify_lists_the_checks_that_passed(tmp_path: Path, trained: Model) -> None:
    path = save_model(trained, tmp_path / "m")
    checks = verify_model(path)
    numbers = sum(array.size for array in trained.weights.values())
    assert checks[0] == "The card follows format 1."
    assert checks[1] == f"The weights match the card (sha256 {trained.sha256[:12]}...)."
    assert checks[2] == f"The weights are {len(trained.weights)} tensors with {numbers:,} finite numbers."
    assert checks[3] == "Every tensor fits the network."


def test_verify_raises_at_the_first_check_that_fails(folder: Path) -> None:
    with pytest.raises(ModelError, match=f"{folder}: the weights have no tensor 'encoder.1.conv1.weight'"):
        verify_model(folder)


def test_reading_a_list_of_models_does_not_wait_for_torch() -> None:
    code = (
        "import sys, TransferSegLib.model, TransferSegLib.registry;"
        "sys.exit(', '.join({'torch', 'pydantic', 'safetensors'} & set(sys.modules)) or 0)"
    )
    root = Path(bundle_module.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
