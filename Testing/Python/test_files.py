"""atomic_path: a reader finds the old content or the new one, never a half."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from TransferSegLib import files
from TransferSegLib.errors import Cancelled, InputError, ResourceError
from TransferSegLib.files import atomic_path, explain_os_error

ROOT = Path(__file__).parents[2]


def content(folder):
    """Every file below a folder with its text."""
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


def fail_while_writing(path, error):
    with atomic_path(path) as beside:
        beside.write_text("half")
        raise error


def make(folder, **texts):
    folder.mkdir()
    for name, text in texts.items():
        (folder / name).write_text(text)


class TestFile:
    def test_appears_when_the_block_ends(self, tmp_path):
        with atomic_path(tmp_path / "a.txt") as beside:
            beside.write_text("new")
            assert not (tmp_path / "a.txt").exists()
        assert content(tmp_path) == {"a.txt": "new"}

    def test_replaces_the_old_one(self, tmp_path):
        (tmp_path / "a.txt").write_text("old")
        with atomic_path(tmp_path / "a.txt") as beside:
            beside.write_text("new")
            assert (tmp_path / "a.txt").read_text() == "old"
        assert content(tmp_path) == {"a.txt": "new"}

    def test_is_written_beside_with_the_same_endings(self, tmp_path):
        with atomic_path(tmp_path / "a.nii.gz") as beside:
            assert beside.parent == tmp_path
            assert beside.name.endswith(".a.nii.gz")
            beside.touch()

    def test_may_be_given_as_text_and_in_a_new_folder(self, tmp_path):
        with atomic_path(str(tmp_path / "new" / "folder" / "a")) as beside:
            beside.write_text("new")
        assert content(tmp_path) == {str(Path("new/folder/a")): "new"}

    @pytest.mark.parametrize("error", [ValueError, Cancelled, KeyboardInterrupt])
    def test_stays_as_it_was_after_an_error(self, tmp_path, error):
        (tmp_path / "a.txt").write_text("old")
        with pytest.raises(error):
            fail_while_writing(tmp_path / "a.txt", error())
        assert content(tmp_path) == {"a.txt": "old"}

    def test_is_on_disk_before_it_takes_the_name(self, tmp_path, monkeypatch):
        order = []
        sync, replace = os.fsync, os.replace
        monkeypatch.setattr(os, "fsync", lambda handle: (order.append("sync"), sync(handle)))
        monkeypatch.setattr(os, "replace", lambda *names: (order.append("replace"), replace(*names)))
        with atomic_path(tmp_path / "a.txt") as beside:
            beside.write_text("new")
        assert order == ["sync", "replace"]

    def test_two_writers_do_not_disturb_each_other(self, tmp_path):
        with atomic_path(tmp_path / "a.txt") as first:
            first.write_text("first")
            with atomic_path(tmp_path / "a.txt") as second:
                second.write_text("second")
            assert content(tmp_path)["a.txt"] == "second"
        assert content(tmp_path) == {"a.txt": "first"}


class TestFolder:
    def fail(self, path):
        with atomic_path(path) as beside:
            make(beside, card="half")
            raise ValueError("stop")

    def test_is_replaced_as_a_whole(self, tmp_path):
        make(tmp_path / "model", card="old", weights="old", extra="old")
        with atomic_path(tmp_path / "model") as beside:
            make(beside, card="new", weights="new")
            assert len(list((tmp_path / "model").iterdir())) == 3
        assert content(tmp_path) == {str(Path("model/card")): "new", str(Path("model/weights")): "new"}
        assert os.listdir(tmp_path) == ["model"]

    def test_stays_as_it_was_after_an_error(self, tmp_path):
        make(tmp_path / "model", card="old")
        with pytest.raises(ValueError, match="stop"):
            self.fail(tmp_path / "model")
        assert content(tmp_path) == {str(Path("model/card")): "old"}
        assert os.listdir(tmp_path) == ["model"]

    def test_comes_back_when_the_new_one_cannot_take_its_place(self, tmp_path, monkeypatch):
        make(tmp_path / "model", card="old")
        replace = os.replace

        def fail(source, target):
            if ".part." in str(source):
                raise PermissionError(errno.EACCES, "Permission denied")
            replace(source, target)

        monkeypatch.setattr(os, "replace", fail)
        with pytest.raises(InputError, match="no permission"), atomic_path(tmp_path / "model") as beside:
            make(beside, card="new")
        assert content(tmp_path) == {str(Path("model/card")): "old"}
        assert os.listdir(tmp_path) == ["model"]

    def test_is_never_replaced_by_a_file(self, tmp_path):
        make(tmp_path / "results", precious="data")
        with pytest.raises(InputError) as caught, atomic_path(tmp_path / "results") as beside:
            beside.write_text("new")
        assert str(caught.value) == (
            f"{tmp_path / 'results'} cannot be written: a folder stands in the way. Choose another name."
        )
        assert content(tmp_path) == {str(Path("results/precious")): "data"}

    def test_that_is_a_link_is_replaced_and_what_it_points_to_is_kept(self, tmp_path):
        make(tmp_path / "real", card="old")
        (tmp_path / "model").symlink_to(tmp_path / "real", target_is_directory=True)
        with atomic_path(tmp_path / "model") as beside:
            make(beside, card="new")
        assert content(tmp_path) == {str(Path("model/card")): "new", str(Path("real/card")): "old"}
        assert sorted(os.listdir(tmp_path)) == ["model", "real"]


def test_a_kill_in_the_middle_leaves_the_old_content(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "card").write_text("old")
    code = (
        "import os, sys; from pathlib import Path; from TransferSegLib.files import atomic_path\n"
        "with atomic_path(Path(sys.argv[1], 'a.txt')) as file, atomic_path(Path(sys.argv[1], 'model')) as folder:\n"
        "    file.write_text('half'); folder.mkdir(); (folder / 'card').write_text('half'); os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=False)
    assert done.returncode == 9
    assert (tmp_path / "a.txt").read_text() == "old"
    assert content(tmp_path / "model") == {"card": "old"}


class TestErrors:
    @pytest.mark.parametrize(
        ("code", "kind", "message"),
        [
            (
                errno.ENOSPC,
                ResourceError,
                "The disk is full: {} was not written. Free some space and run the command again.",
            ),
            (
                errno.EDQUOT,
                ResourceError,
                "The disk is full: {} was not written. Free some space and run the command again.",
            ),
            (errno.EACCES, InputError, "{} cannot be written: no permission. Choose another output folder."),
            (errno.EROFS, InputError, "{} cannot be written: no permission. Choose another output folder."),
            (errno.EIO, InputError, "{} cannot be written: Input/output error. Check the path."),
        ],
    )
    def test_of_the_system_is_explained_and_leaves_the_old_file(self, tmp_path, code, kind, message):
        path = tmp_path / "a.txt"
        path.write_text("old")
        with pytest.raises(kind) as caught:
            fail_while_writing(path, OSError(code, os.strerror(code)))
        assert str(caught.value) == message.format(path)
        assert content(tmp_path) == {"a.txt": "old"}

    def test_a_disk_that_is_full_only_when_the_data_is_flushed_counts_too(self, tmp_path, monkeypatch):
        def full(_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        (tmp_path / "a.txt").write_text("old")
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(ResourceError), atomic_path(tmp_path / "a.txt") as beside:
            beside.write_text("new")
        assert content(tmp_path) == {"a.txt": "old"}

    def test_a_file_where_a_folder_is_needed(self, tmp_path):
        (tmp_path / "taken").write_text("mine")
        for path in (tmp_path / "taken" / "a.txt", tmp_path / "taken" / "deep" / "a.txt"):
            with pytest.raises(InputError) as caught, atomic_path(path):
                pytest.fail("the block must not run")
            assert str(caught.value) == (
                f"{path} cannot be written: a file stands in the way. Choose another output folder."
            )
        assert content(tmp_path) == {"taken": "mine"}

    def test_a_folder_that_may_not_be_made(self, tmp_path, monkeypatch):
        def forbidden(self, *_, **__):
            raise PermissionError(errno.EACCES, "Permission denied", str(self))

        monkeypatch.setattr(Path, "mkdir", forbidden)
        with pytest.raises(InputError) as caught, atomic_path(tmp_path / "new" / "a.txt"):
            pytest.fail("the block must not run")
        assert str(caught.value) == (
            f"{tmp_path / 'new' / 'a.txt'} cannot be written: no permission. Choose another output folder."
        )

    def test_keeps_the_original_error_for_developers(self, tmp_path):
        with pytest.raises(InputError) as caught, files.os_errors(tmp_path):
            raise PermissionError(errno.EACCES, "Permission denied")
        assert isinstance(caught.value.__cause__, PermissionError)

    def test_without_a_text_of_the_system_is_still_explained(self, tmp_path):
        assert explain_os_error(OSError("strange"), tmp_path).cause == f"{tmp_path} cannot be written: strange."
