"""Nothing damaged, foreign or hostile gets in, and each refusal says why."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import stat
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_examples import small_model, small_weights
from safetensors.numpy import save

import TransferSegLib.bundle as bundle_module
from TransferSegLib.bundle import CARD, README, WEIGHTS, parse_weights
from TransferSegLib.card import Card
from TransferSegLib.errors import ModelError
from TransferSegLib.model import load_model, save_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good model."""
    return save_model(small_model(), tmp_path / "glioma")


def refusal(path: str | Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load_model(path)
    assert caught.value.remedy
    return caught.value


def with_weights(folder: Path, data: bytes) -> Path:
    """Other bytes as weights, and a card that vouches for them."""
    (folder / WEIGHTS).write_bytes(data)
    card = Card.from_json((folder / CARD).read_bytes())
    (folder / CARD).write_text(card.replace(weights_sha256=hashlib.sha256(data).hexdigest()).to_json(), "utf-8")
    return folder


def zipped(path: Path, members: dict[str | zipfile.ZipInfo, bytes], kind: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def contents(folder: Path, prefix: str = "") -> dict[str | zipfile.ZipInfo, bytes]:
    return {prefix + file.name: file.read_bytes() for file in sorted(folder.iterdir())}


# Folders


def test_what_does_not_exist_is_said_to(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none").cause == f"{tmp_path / 'none'} does not exist."


@pytest.mark.parametrize("name", [CARD, WEIGHTS])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    error = refusal(folder)
    assert error.cause == f"{folder} has no {name}."
    assert error.remedy == "A model is a folder that holds model.json and weights.safetensors, or a .zip of it."


def test_no_readme_and_foreign_files_do_not_matter(folder: Path) -> None:
    (folder / README).unlink()
    (folder / "run_me.py").write_text("raise SystemExit")
    load_model(folder)


def test_changed_weights_are_refused(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS).write_bytes(data)
    found, expected = hashlib.sha256(data).hexdigest(), small_model().sha256
    error = refusal(folder)
    assert error.cause == (
        f"{folder}: the weights do not match the card: sha256 {found[:12]}..., expected {expected[:12]}..., "
        "the file was changed or damaged."
    )
    assert error.remedy == "Get the model again from whoever made it."


def test_truncated_weights_are_refused_even_when_the_card_vouches_for_them(folder: Path) -> None:
    with_weights(folder, (folder / WEIGHTS).read_bytes()[:-4])
    assert refusal(folder).cause == f"{folder}: weights.safetensors is damaged or no safetensors file."


def torch_file(kind: bool) -> bytes:
    import io

    file = io.BytesIO()
    torch.save({"a": torch.ones(2)}, file, _use_new_zipfile_serialization=kind)
    return file.getvalue()


@pytest.mark.parametrize("data", [torch_file(True), torch_file(False), pickle.dumps({"a": 1}, protocol=2)])
def test_a_pickle_is_not_opened_under_any_name(folder: Path, data: bytes) -> None:
    error = refusal(with_weights(folder, data))
    assert error.cause == (
        f"{folder}: weights.safetensors is a PyTorch pickle under another name, which can run code when it is opened."
    )
    assert error.remedy == "Ask for the weights in the safetensors format."


class Trap:
    """Runs a command when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.file,)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_nothing_in_a_model_is_run(folder: Path, protocol: int) -> None:
    sprung = folder.parent / "sprung"
    data = pickle.dumps(Trap(sprung), protocol)
    refusal(with_weights(folder, data))
    (folder / CARD).write_bytes(data)
    refusal(folder)
    assert not sprung.exists()
    pickle.loads(data)
    assert sprung.exists()  # the trap works


def test_a_header_that_begins_like_a_pickle_is_no_pickle(folder: Path) -> None:
    # The file begins with the length of its header: 0x0280 is written 80 02.
    lengths = {}
    for size in range(400, 700):
        data = save({"n" * size: np.ones(1, np.float32)})
        lengths[data[:2]] = data
    load_model(with_weights(folder, lengths[b"\x80\x02"]))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(folder: Path, value: float) -> None:
    with_weights(folder, save({"conv.weight": np.float32([1, value])}))
    assert refusal(folder).cause == f"{folder}: the tensor 'conv.weight' holds NaN or infinite values."


def test_other_types_of_numbers_are_refused(folder: Path) -> None:
    with_weights(folder, save({"a": np.ones(2, np.float16)}))
    assert refusal(folder).cause == f"{folder}: the tensor 'a' holds float16."
    from safetensors.torch import save as save_tensors

    with_weights(folder, save_tensors({"a": torch.ones(2, dtype=torch.bfloat16)}))
    assert refusal(folder).cause == f"{folder}: weights.safetensors holds numbers of the type BF16."


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 260), st.integers(0, 20))
def test_damaged_weights_never_end_in_a_traceback(noise: bytes, at: int, drop: int) -> None:
    good = save(small_weights())
    data = good[:at] + noise + good[at + drop :]
    with suppress(ModelError):
        parse_weights(data, hashlib.sha256(data).hexdigest())


def test_a_broken_card_is_refused_with_the_place(folder: Path) -> None:
    (folder / CARD).write_text('{"format": 1,')
    assert refusal(folder).cause == f"{folder}: the model card is not valid JSON (line 1, column 14)."


def test_a_card_that_lacks_something_is_refused(folder: Path) -> None:
    text = (folder / CARD).read_text("utf-8").replace('"licence"', '"license"')
    (folder / CARD).write_text(text, "utf-8")
    assert refusal(folder).cause == (f"{folder}: the model card has no 'licence' (1 more of its fields are wrong too).")


def test_a_model_of_a_newer_transferseg_asks_for_an_update(folder: Path) -> None:
    text = (folder / CARD).read_text("utf-8").replace('"format": 1', '"format": 2')
    (folder / CARD).write_text(text, "utf-8")
    error = refusal(folder)
    assert error.cause == f"{folder}: the model was made by a newer TransferSeg (format 2, this one reads up to 1)."
    assert error.remedy == "Update TransferSeg."


@pytest.mark.parametrize(("name", "limit"), [(CARD, "1 MB"), (WEIGHTS, "512 MB")])
def test_what_is_too_large_is_not_even_read(folder: Path, name: str, limit: str) -> None:
    size = {CARD: 3 << 20, WEIGHTS: 600 << 20}[name]
    os.truncate(folder / name, size)  # a sparse file: takes no room
    found = f"{size >> 20} MB"
    assert refusal(folder).cause == f"{folder}: {name} is too large: {found}, at most {limit} are read."


# Zips


def test_a_zip_may_hold_the_files_at_its_top_or_in_one_folder(folder: Path, tmp_path: Path) -> None:
    load_model(zipped(tmp_path / "a.zip", contents(folder)))
    load_model(zipped(tmp_path / "b.zip", contents(folder, "any name/")))
    load_model(zipped(tmp_path / "no-ending", contents(folder)))


def test_a_zip_made_by_the_finder_of_macos_is_read(folder: Path, tmp_path: Path) -> None:
    members = contents(folder, "glioma/")
    shadows = {f"__MACOSX/glioma/._{name}": b"\0\5\26\7" for name in (*contents(folder), ".DS_Store")}
    load_model(zipped(tmp_path / "a.zip", {"glioma/": b"", **members, "glioma/.DS_Store": b"x", **shadows}))


def test_what_is_no_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(b"hello")
    assert refusal(path).cause == f"{path} is not a zip file."


def test_an_empty_zip_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {})
    assert refusal(path).cause == f"{path} is an empty zip file."


@pytest.mark.parametrize("name", [CARD, WEIGHTS])
def test_a_zip_without_one_of_the_files_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    members = contents(folder, "glioma/")
    del members["glioma/" + name]
    path = zipped(tmp_path / "a.zip", members)
    assert refusal(path).cause == f"{path} has no {name}."


def test_a_truncated_or_scrambled_zip_is_refused(folder: Path, tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", contents(folder))
    good = path.read_bytes()
    path.write_bytes(good[:-30])
    assert refusal(path).cause == f"{path} is not a zip file."
    at = good.index(WEIGHTS.encode()) + len(WEIGHTS) + 9
    path.write_bytes(good[:at] + b"????" + good[at + 4 :])
    assert refusal(path).cause == f"{path} is a damaged zip file."


def test_a_zip_with_two_models_is_refused(folder: Path, tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {**contents(folder, "a/"), **contents(folder, "b/")})
    assert refusal(path).cause == f"{path} holds 2 models."


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "..\\evil", "C:evil"])
def test_a_zip_that_points_out_of_its_folder_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    path = zipped(tmp_path / "a.zip", {**contents(folder), name: b"x"})
    assert refusal(path).cause == f"{path} holds the file {name!r}, which points out of its folder."


def test_a_zip_with_a_symbolic_link_is_refused(folder: Path, tmp_path: Path) -> None:
    link = zipfile.ZipInfo("extra")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    path = zipped(tmp_path / "a.zip", {**contents(folder), link: b"/etc/passwd"})
    assert refusal(path).cause == f"{path} holds the symbolic link 'extra'."


def test_a_zip_with_too_many_files_is_refused(folder: Path, tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {**contents(folder), **{f"{n}.txt": b"" for n in range(40)}})
    assert refusal(path).cause == f"{path} holds 43 files, a model at most 32."


def test_a_table_of_contents_that_would_fill_the_memory_is_not_read(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {f"{n:0100}": b"" for n in range(2000)})
    assert refusal(path).cause == f"{path} is a damaged zip file."


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        (CARD, "{path}: model.json is too large: 40 MB, at most 1 MB are read."),
        (WEIGHTS, "{path}: weights.safetensors is too large: 40 MB, at most 8 MB are read."),
        ("extra", "{path} is too large once unpacked."),
    ],
)
def test_a_bomb_is_not_unpacked(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, cause: str
) -> None:
    monkeypatch.setitem(bundle_module._LIMITS, WEIGHTS, 8 << 20)
    if name == "extra":
        monkeypatch.setattr(bundle_module, "MAX_TOTAL_BYTES", 16 << 20)
    path = zipped(tmp_path / "a.zip", {**contents(folder), name: bytes(40 << 20)})
    assert path.stat().st_size < 1 << 20
    assert refusal(path).cause == cause.format(path=path)


def test_a_bomb_that_lies_about_its_size_is_stopped_at_the_size_it_tells(folder: Path, tmp_path: Path) -> None:
    members = {**contents(folder), WEIGHTS: bytes(5 << 20)}
    path = zipped(tmp_path / "a.zip", members)
    told = (5 << 20).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(told, (100).to_bytes(4, "little")))
    assert refusal(path).cause == f"{path} is a damaged zip file."


def test_encrypted_and_rarely_compressed_zips_ask_to_be_unpacked(folder: Path, tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", contents(folder), zipfile.ZIP_LZMA)
    assert refusal(path).cause == f"{path} uses a rare kind of compression."
    path = zipped(tmp_path / "b.zip", contents(folder), zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    assert refusal(path).cause == f"{path} is encrypted."
    assert refusal(path).remedy == "Unpack it and give the folder."


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 5000), st.binary(min_size=1, max_size=4))
def test_a_damaged_zip_never_ends_in_a_traceback(at: int, noise: bytes) -> None:
    good = _good_zip()
    path = good.with_name("damaged.zip")
    data = good.read_bytes()
    at %= len(data)
    path.write_bytes(data[:at] + noise + data[at + len(noise) :])
    with suppress(ModelError):
        load_model(path)


_MADE: list[Path] = []


def _good_zip() -> Path:
    if not _MADE:
        import tempfile

        _MADE.append(save_model(small_model(), Path(tempfile.mkdtemp()) / "good.zip"))
    return _MADE[0]


def teardown_module() -> None:
    for path in _MADE:
        shutil.rmtree(path.parent)
