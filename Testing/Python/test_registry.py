"""The models at hand: shipped, installed, damaged; finding, installing, exporting, renaming, removing."""

from __future__ import annotations

from pathlib import Path

import pytest
from model_examples import small_model

import TransferSegLib.registry as registry
from TransferSegLib.bundle import WEIGHTS
from TransferSegLib.errors import ModelError
from TransferSegLib.model import load_model, save_model
from TransferSegLib.registry import (
    Entry,
    export_model,
    find_model,
    home_folder,
    install_model,
    list_models,
    models_folder,
    remove_model,
    rename_model,
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home for models, one shipped model, and a working folder where nothing lies around."""
    monkeypatch.setenv("TRANSFERSEG_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(registry, "SHIPPED_FOLDER", tmp_path / "shipped")
    save_model(small_model(name="ms-lesion", title="MS lesions"), tmp_path / "shipped" / "ms-lesion")
    (tmp_path / "shipped" / "__pycache__").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    """A model that a colleague sent."""
    return save_model(small_model(), tmp_path / "mail.zip")


def names() -> list[str]:
    return [entry.name for entry in list_models()]


# Where models are kept


@pytest.mark.parametrize(
    ("platform", "environ", "expected"),
    [
        ("linux", {}, "~/.local/share/transferseg"),
        ("linux", {"XDG_DATA_HOME": "/data"}, "/data/transferseg"),
        ("linux", {"XDG_DATA_HOME": "relative"}, "~/.local/share/transferseg"),
        ("darwin", {"XDG_DATA_HOME": "/data"}, "~/Library/Application Support/TransferSeg"),
        ("win32", {"LOCALAPPDATA": "/Users/me/Local"}, "/Users/me/Local/TransferSeg"),
        ("win32", {}, "~/AppData/Local/TransferSeg"),
        ("linux", {"TRANSFERSEG_HOME": "/lab/models", "XDG_DATA_HOME": "/data"}, "/lab/models"),
        ("win32", {"TRANSFERSEG_HOME": "~/lab", "LOCALAPPDATA": "/Local"}, "~/lab"),
    ],
)
def test_models_are_kept_where_the_system_keeps_data(platform: str, environ: dict[str, str], expected: str) -> None:
    assert home_folder(platform, environ) == Path(expected).expanduser()


# Listing


def test_without_any_model_the_list_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "SHIPPED_FOLDER", tmp_path / "none")
    assert list_models() == []


def test_shipped_models_are_listed_before_installed_ones(mail: Path, home: Path, tmp_path: Path) -> None:
    install_model(mail, "a-first")
    assert list_models() == [
        Entry("ms-lesion", "1.0", "MS lesions", "shipped", tmp_path / "shipped" / "ms-lesion"),
        Entry("a-first", "1.0", "Glioma, adapted from MS lesions", "installed", home / "models" / "a-first"),
    ]


def test_a_damaged_model_is_listed_with_the_reason(mail: Path) -> None:
    path = install_model(mail).path
    (path / WEIGHTS).unlink()
    (models_folder() / "empty").mkdir()
    empty, damaged = list_models()[1:]
    assert empty.problem == f"{empty.path} has no model.json."
    assert damaged.name == "glioma-ft-all"
    assert damaged.problem == f"{path} has no weights.safetensors."


def test_what_is_just_being_written_is_not_listed(mail: Path) -> None:
    install_model(mail)
    (models_folder() / ".1234abcd.part.other").mkdir()
    (models_folder() / "notes.txt").write_text("mine")
    assert names() == ["ms-lesion", "glioma-ft-all"]


def test_an_installed_model_that_a_later_release_ships_too_is_listed_as_hidden(mail: Path, tmp_path: Path) -> None:
    install_model(mail, "glioma")
    save_model(small_model(name="glioma", version="9"), tmp_path / "shipped" / "glioma")
    hidden = list_models()[-1]
    assert hidden.problem == "A model that ships with TransferSeg has the same name: rename this one."
    assert load_model("glioma").card.version == "9"
    rename_model("glioma", "my-glioma")
    assert load_model("my-glioma").card.version == "1.0"
    assert all(entry.problem is None for entry in list_models())


# Finding


def test_a_model_is_found_by_its_name(mail: Path) -> None:
    install_model(mail)
    assert load_model("glioma-ft-all").card == load_model(mail).card
    assert load_model("ms-lesion").name == "ms-lesion"


def test_a_path_is_a_path_even_when_a_model_has_its_name(mail: Path, tmp_path: Path) -> None:
    local = save_model(small_model(version="local"), Path("ms-lesion"))
    assert load_model("ms-lesion").card.version == "1.0"
    assert load_model("./ms-lesion").card.version == "local"
    assert load_model(local).card.version == "local"
    assert find_model(str(mail)) == mail


def test_a_folder_here_needs_no_dot_when_no_model_has_its_name() -> None:
    save_model(small_model(version="local"), "mine")
    assert load_model("mine").card.version == "local"


def test_an_unknown_name_tells_what_there_is_and_what_was_perhaps_meant(mail: Path) -> None:
    install_model(mail)
    with pytest.raises(ModelError) as caught:
        find_model("Glioma-all")
    assert caught.value.cause == "There is no model 'Glioma-all'."
    assert caught.value.remedy == (
        "Did you mean glioma-ft-all? There are: glioma-ft-all, ms-lesion; or give a folder or a .zip."
    )
    with pytest.raises(ModelError) as caught:
        find_model("")
    assert caught.value.remedy.startswith("There are: ")


def test_without_any_model_the_user_is_told_to_install_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "SHIPPED_FOLDER", tmp_path / "none")
    with pytest.raises(ModelError, match=r"There is no model 'x': none is installed\. Install one, or give a folder"):
        load_model("x")


@pytest.mark.parametrize("source", ["./none", "none.zip", "~/none-of-this", "a/b"])
def test_a_path_that_does_not_exist_is_called_so(source: str) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        find_model(source)


# Installing


def test_installing_checks_and_copies(mail: Path, home: Path) -> None:
    entry = install_model(mail)
    assert entry.path == home / "models" / "glioma-ft-all"
    mail.unlink()
    assert load_model("glioma-ft-all").sha256 == small_model().sha256
    assert (entry.path / "README.md").exists()


def test_a_damaged_model_is_not_installed(tmp_path: Path, home: Path) -> None:
    path = save_model(small_model(), tmp_path / "m")
    (path / WEIGHTS).write_bytes(b"")
    with pytest.raises(ModelError, match="do not match the card"):
        install_model(path)
    assert not home.exists()


def test_a_model_can_be_installed_under_another_name(mail: Path) -> None:
    entry = install_model(mail, "mine")
    assert entry.name == load_model("mine").name == "mine"
    assert "`mine`, version 1.0" in (entry.path / "README.md").read_text("utf-8")
    assert load_model("mine").sha256 == load_model(mail).sha256


def test_the_folder_of_a_run_can_be_installed(tmp_path: Path) -> None:
    save_model(small_model(), tmp_path / "run" / "model")
    assert install_model(tmp_path / "run").name == "glioma-ft-all"


def test_an_installed_model_is_replaced_only_when_asked(mail: Path, tmp_path: Path) -> None:
    install_model(mail)
    newer = save_model(small_model(version="2.0"), tmp_path / "newer")
    with pytest.raises(ModelError) as caught:
        install_model(newer)
    assert caught.value.cause == "A model 'glioma-ft-all' is installed already."
    assert load_model("glioma-ft-all").card.version == "1.0"
    assert install_model(newer, replace=True).version == "2.0"
    assert names() == ["ms-lesion", "glioma-ft-all"]


def test_an_installed_model_that_is_damaged_can_be_replaced(mail: Path) -> None:
    (install_model(mail).path / WEIGHTS).unlink()
    assert install_model(mail, replace=True).problem is None


def test_replacing_a_model_by_itself_leaves_it(mail: Path) -> None:
    install_model(mail)
    assert install_model("glioma-ft-all", replace=True).problem is None


def test_a_shipped_model_is_never_replaced(tmp_path: Path) -> None:
    other = save_model(small_model(name="ms-lesion"), tmp_path / "other")
    with pytest.raises(ModelError, match="'ms-lesion' is the name of a model that ships with TransferSeg"):
        install_model(other, replace=True)


@pytest.mark.parametrize("name", ["../evil", "a/b", "", ".hidden", "Über"])
def test_a_model_cannot_be_installed_under_a_name_that_is_no_name(mail: Path, name: str, home: Path) -> None:
    with pytest.raises(ModelError, match="lower-case letters"):
        install_model(mail, name)
    assert not home.exists()


# Exporting, renaming, removing


def test_what_is_exported_can_be_installed_elsewhere(
    mail: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_model(mail)
    out = export_model("glioma-ft-all", tmp_path / "out.zip")
    assert out.read_bytes() == mail.read_bytes()
    monkeypatch.setenv("TRANSFERSEG_HOME", str(tmp_path / "colleague"))
    assert install_model(out).name == "glioma-ft-all"


def test_a_model_is_exported_into_a_folder_of_other_things_as_a_zip(tmp_path: Path) -> None:
    (tmp_path / "Desktop").mkdir()
    assert export_model("ms-lesion", tmp_path / "Desktop") == tmp_path / "Desktop" / "ms-lesion.zip"
    assert export_model("ms-lesion", tmp_path / "new").is_dir()
    assert load_model(tmp_path / "new").name == "ms-lesion"


def test_a_damaged_model_is_not_given_away(mail: Path, tmp_path: Path) -> None:
    (install_model(mail).path / WEIGHTS).write_bytes(b"")
    with pytest.raises(ModelError):
        export_model("glioma-ft-all", tmp_path / "out.zip")
    assert not (tmp_path / "out.zip").exists()


def test_a_model_is_renamed_on_its_card_too(mail: Path) -> None:
    install_model(mail)
    assert rename_model("glioma-ft-all", "glioma-2").name == "glioma-2"
    assert names() == ["ms-lesion", "glioma-2"]
    assert load_model("glioma-2").name == "glioma-2"


@pytest.mark.parametrize("new_name", ["ms-lesion", "other", "No Name"])
def test_a_model_is_not_renamed_to_what_is_taken_or_no_name(mail: Path, new_name: str) -> None:
    install_model(mail)
    install_model(mail, "other")
    with pytest.raises(ModelError):
        rename_model("glioma-ft-all", new_name)
    assert names() == ["ms-lesion", "glioma-ft-all", "other"]


def test_renaming_to_the_same_name_changes_nothing(mail: Path) -> None:
    install_model(mail)
    assert rename_model("glioma-ft-all", "glioma-ft-all").problem is None


def test_a_model_is_removed_whole_or_damaged(mail: Path) -> None:
    (install_model(mail).path / WEIGHTS).unlink()
    remove_model("glioma-ft-all")
    assert names() == ["ms-lesion"]


def test_a_linked_model_is_unlinked_not_deleted(tmp_path: Path) -> None:
    own = save_model(small_model(), tmp_path / "own")
    models_folder().mkdir(parents=True)
    (models_folder() / "linked").symlink_to(own)
    remove_model("linked")
    assert names() == ["ms-lesion"]
    load_model(own)


def test_shipped_models_stay() -> None:
    with pytest.raises(ModelError, match="ships with TransferSeg and cannot be removed"):
        remove_model("ms-lesion")
    with pytest.raises(ModelError, match="ships with TransferSeg and cannot be renamed"):
        rename_model("ms-lesion", "mine")
    assert names() == ["ms-lesion"]


@pytest.mark.parametrize("name", ["..", ".", "../work", "", "none", "/"])
def test_only_installed_models_can_be_removed(mail: Path, name: str) -> None:
    install_model(mail)
    with pytest.raises(ModelError, match="There is no model"):
        remove_model(name)
    assert names() == ["ms-lesion", "glioma-ft-all"]
