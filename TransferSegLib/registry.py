"""The models at hand: those that ship with TransferSeg and those the user installed."""

from __future__ import annotations

import difflib
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace as replace_fields
from pathlib import Path

from .bundle import CARD, Bundle, read_bundle, write_bundle
from .errors import InputError, ModelError, TransferSegError
from .files import os_errors

SHIPPED_FOLDER = Path(__file__).parent / "models"


@dataclass(frozen=True)
class Entry:
    """A model that can be named.

    Attributes
    ----------
    name : of its folder: what the user calls it.
    version, title : from the card; empty when it cannot be read.
    origin : ``"shipped"`` or ``"installed"``.
    path : its folder.
    problem : why it cannot be used, or None.
    """

    name: str
    version: str
    title: str
    origin: str
    path: Path
    problem: str | None = None


def home_folder(platform: str = sys.platform, environ: Mapping[str, str] = os.environ) -> Path:
    """Where the user's models are kept: ``TRANSFERSEG_HOME`` if it is set, else where the system keeps such data."""
    if environ.get("TRANSFERSEG_HOME"):
        return Path(environ["TRANSFERSEG_HOME"]).expanduser()
    if platform == "win32":
        return Path(environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "TransferSeg"
    if platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "TransferSeg"
    data = Path(environ.get("XDG_DATA_HOME", ""))
    # The XDG specification: a path that is not absolute is ignored.
    return (data if data.is_absolute() else Path.home() / ".local" / "share") / "transferseg"


def models_folder() -> Path:
    """The folder of installed models, a folder each. It need not exist."""
    return home_folder() / "models"


def list_models() -> list[Entry]:
    """All models by name, the shipped ones first. One that cannot be read is listed with the reason."""
    shipped = _shipped()
    entries = [_entry(path, "shipped") for path in shipped.values()]
    for name, path in _user().items():
        entry = _entry(path, "installed")
        if name in shipped:
            entry = replace_fields(
                entry, problem="A model that ships with TransferSeg has the same name: rename this one."
            )
        entries.append(entry)
    return entries


def find_model(source: str | Path) -> Path:
    """The folder or zip of a model.

    Parameters
    ----------
    source : a name; or a path, which is anything that has a slash, starts with ``.`` or ``~`` or ends in ``.zip``, and
        any other thing that is no name but exists.

    Raises
    ------
    ModelError : there is no such model; tells which there are, and what was perhaps meant.
    """
    path = Path(os.path.expanduser(source))
    if isinstance(source, Path) or _looks_like_path(source):
        if not os.path.exists(path):
            raise ModelError(f"{path} does not exist.", "Check the path, or give the name of an installed model.")
        return path
    folders = {**_user(), **_shipped()}
    if source in folders:
        return folders[source]
    if source and os.path.exists(path):
        return path
    raise _unknown(source, list(folders))


def install_model(source: str | Path, name: str | None = None, replace: bool = False) -> Entry:
    """Check a model and copy it to the user's models.

    Parameters
    ----------
    source : a folder, the folder of a run, or a zip.
    name : to give it; None: the one on its card.
    replace : an installed model of that name.

    Raises
    ------
    ModelError : the model cannot be used, or the name is taken or not valid.
    InputError, ResourceError : the user's folder cannot be written.
    """
    bundle = _named(read_bundle(find_model(source)), name)
    return _install(bundle, replace)


def export_model(source: str | Path, out: str | Path) -> Path:
    """Write a model to give away, after checking it.

    Parameters
    ----------
    source : a name or a path.
    out : a ``.zip``, a new folder, or a folder that holds other things, into which ``<name>.zip`` is written.

    Returns
    -------
    What was written.

    Raises
    ------
    ModelError : the model is unknown or damaged.
    InputError, ResourceError : ``out`` cannot be written.
    """
    bundle = read_bundle(find_model(source))
    out = Path(out).expanduser()
    if out.is_dir() and not (out / CARD).exists():
        out = out / f"{bundle.card.name}.zip"
    return write_bundle(out, bundle.card, bundle.data)


def remove_model(name: str) -> None:
    """Delete an installed model.

    Raises
    ------
    ModelError : there is no such model, or it ships with TransferSeg.
    InputError : it cannot be deleted.
    """
    path = _installed(name, "removed")
    with os_errors(path):
        if path.is_symlink():  # somebody's own folder, linked here
            path.unlink()
        else:
            shutil.rmtree(path)


def rename_model(name: str, new_name: str) -> Entry:
    """Give an installed model another name, on its card too.

    Raises
    ------
    ModelError : there is no such model, it ships with TransferSeg or is damaged, or the new name is taken or not valid.
    InputError, ResourceError : the user's folder cannot be written.
    """
    path = _installed(name, "renamed")
    if new_name == name:
        return _entry(path, "installed")
    entry = _install(_named(read_bundle(path), new_name), replace=False)
    remove_model(name)
    return entry


def _install(bundle: Bundle, replace: bool) -> Entry:
    name = bundle.card.name
    if name in _shipped():
        raise ModelError(f"'{name}' is the name of a model that ships with TransferSeg.", "Choose another name.")
    if name in _user() and not replace:
        raise ModelError(f"A model '{name}' is installed already.", "Choose another name, or replace it.")
    return _entry(write_bundle(models_folder() / name, bundle.card, bundle.data), "installed")


def _named(bundle: Bundle, name: str | None) -> Bundle:
    if name is None or name == bundle.card.name:
        return bundle
    return Bundle(bundle.card.replace(name=name), bundle.data, bundle.weights, bundle.path)


def _installed(name: str, what: str) -> Path:
    """The folder of an installed model. Looked up, not put together, so that no name leads out of the models folder."""
    path = _user().get(name)
    if path is not None:
        return path
    shipped = _shipped()
    if name in shipped:
        raise ModelError(f"'{name}' ships with TransferSeg and cannot be {what}.", "Export it to have a copy.")
    raise _unknown(name, list(shipped) + list(_user()))


def _shipped() -> dict[str, Path]:
    return _subfolders(SHIPPED_FOLDER)


def _user() -> dict[str, Path]:
    return _subfolders(models_folder())


def _subfolders(folder: Path) -> dict[str, Path]:
    """Those that may be models: what is being written starts with a dot, Python's own folders with an underscore."""
    try:
        return {path.name: path for path in sorted(folder.iterdir()) if path.is_dir() and path.name[0] not in "._"}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}.", "Check its permissions.") from error


def _entry(path: Path, origin: str) -> Entry:
    try:
        card = read_bundle(path).card
    except TransferSegError as error:
        return Entry(path.name, "", "", origin, path, error.cause)
    return Entry(path.name, card.version, card.title, origin, path)


def _looks_like_path(source: str) -> bool:
    return any(mark in source for mark in "/\\") or source.startswith((".", "~")) or source.lower().endswith(".zip")


def _unknown(name: str, names: list[str]) -> ModelError:
    if not names:
        return ModelError(f"There is no model '{name}': none is installed.", "Install one, or give a folder or a .zip.")
    close = difflib.get_close_matches(name.lower(), names, n=2)
    meant = f"Did you mean {' or '.join(close)}? " if close else ""
    return ModelError(
        f"There is no model '{name}'.", f"{meant}There are: {', '.join(names)}; or give a folder or a .zip."
    )
