"""The cache of prepared cases: found by content, never half, pruned from the oldest on."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from brains import SPACING_MM, write_case

from TransferSegLib import cache
from TransferSegLib.cache import cache_key, default_cache, prepare_cases, prune
from TransferSegLib.case import load_case
from TransferSegLib.case_files import CHANNELS, CaseFiles
from TransferSegLib.datasets import find_cases
from TransferSegLib.errors import Cancelled, InputError, ResourceError
from TransferSegLib.events import CancelToken, Event, Progress
from TransferSegLib.labels import GLIOMA, LESION
from TransferSegLib.preprocess import NORMALISATIONS, Pipeline, Prepared
from TransferSegLib.preprocess.crop import CropToBrain
from TransferSegLib.preprocess.pipeline import Placed
from TransferSegLib.preprocess.reorient import Reorient
from TransferSegLib.preprocess.respace import Respace
from TransferSegLib.volume import read_volume, write_volume

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # fork() beside idle threads

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")


def pipeline(spacing: float = SPACING_MM) -> Pipeline:
    return Pipeline(geometry=(Reorient(), Respace((spacing,) * 3), CropToBrain()))


@pytest.fixture
def case(tmp_path: Path) -> CaseFiles:
    write_case(tmp_path / "data" / "Brats18_A_1", seed=1)
    return find_cases(tmp_path / "data").cases[0]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the cases that were really prepared."""
    names: list[str] = []

    def counting(case: CaseFiles, *args: object, **options: object) -> object:
        names.append(case.name)
        return load_case(case, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(cache, "load_case", counting)
    return names


def prepare(case: CaseFiles, folder: Path, **changes: object) -> Prepared:
    options = {"channels": CHANNELS, "pipeline": pipeline(), "scheme": GLIOMA, **changes}
    return prepare_cases([case], folder=folder, **options)[0]  # type: ignore[arg-type]


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def in_child(work: Callable[[], object]) -> int:
    """Do it in another process: its process number."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return child


# What is found


def test_what_comes_from_the_cache_is_what_was_prepared(case: CaseFiles, tmp_path: Path) -> None:
    expected = pipeline().apply(load_case(case, CHANNELS, GLIOMA), CHANNELS)
    assert expected.label is not None
    for _ in range(2):
        found = prepare(case, tmp_path / "cache")
        assert found.name == "Brats18_A_1"
        assert found.label is not None
        for mine, theirs in (
            (found.image, expected.image),
            (found.brain, expected.brain),
            (found.label, expected.label),
        ):
            np.testing.assert_array_equal(mine, theirs, strict=True)
        assert found.grid.shape == expected.grid.shape
        np.testing.assert_array_equal(found.grid.affine, expected.grid.affine)


def test_a_case_is_prepared_once_and_then_mapped_into_memory(case: CaseFiles, tmp_path: Path, made: list[str]) -> None:
    for _ in range(3):
        found = prepare(case, tmp_path / "cache")
        assert isinstance(found.image, np.memmap)
        assert not found.image.flags.writeable
    assert made == ["Brats18_A_1"]


def test_a_case_that_was_moved_and_renamed_is_found(case: CaseFiles, tmp_path: Path, made: list[str]) -> None:
    prepare(case, tmp_path / "cache")
    write_case(tmp_path / "elsewhere" / "Brats18_B_7", seed=1)
    shutil.rmtree(tmp_path / "data")
    found = prepare(find_cases(tmp_path / "elsewhere").cases[0], tmp_path / "cache")
    assert found.name == "Brats18_B_7"
    assert made == ["Brats18_A_1"]


def test_other_colors_of_the_labels_change_nothing(case: CaseFiles, tmp_path: Path, made: list[str]) -> None:
    prepare(case, tmp_path / "cache")
    painted = replace(GLIOMA, classes=tuple(replace(item, color=(1, 2, 3)) for item in GLIOMA.classes))
    prepare(case, tmp_path / "cache", scheme=painted)
    assert made == ["Brats18_A_1"]


@pytest.mark.parametrize("channel", [*CHANNELS, "seg"])
def test_a_case_that_was_edited_is_prepared_anew_even_with_the_same_size_and_time(
    case: CaseFiles, tmp_path: Path, made: list[str], channel: str
) -> None:
    before = prepare(case, tmp_path / "cache")
    path = next((tmp_path / "data").rglob(f"*_{channel}.nii.gz"))
    stat = path.stat()
    image = nib.load(path)
    data = np.asarray(image.dataobj).copy()
    data[8, 8, 8] = 0 if channel == "seg" else 500
    nib.save(nib.Nifti1Image(data, image.affine), path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    after = prepare(case, tmp_path / "cache")
    assert len(made) == 2
    assert not (np.array_equal(before.image, after.image) and np.array_equal(before.label, after.label))


@pytest.mark.parametrize(
    "changes",
    [
        {"pipeline": pipeline(5.0)},
        {"pipeline": replace(pipeline(), intensity=())},
        {"channels": ("flair", "t1", "t1c", "t2")},
        {"channels": ("t1", "flair")},
        {
            "scheme": replace(
                GLIOMA, classes=(*GLIOMA.classes[:2], replace(GLIOMA.classes[2], codes=(2, 9)), GLIOMA.classes[3])
            )
        },
    ],
    ids=["spacing", "intensity", "channel order", "fewer channels", "scheme"],
)
def test_other_settings_make_another_entry(
    case: CaseFiles, tmp_path: Path, made: list[str], changes: dict[str, object]
) -> None:
    prepare(case, tmp_path / "cache")
    prepare(case, tmp_path / "cache", **changes)
    assert len(made) == len(entries(tmp_path / "cache")) == 2
    prepare(case, tmp_path / "cache")
    prepare(case, tmp_path / "cache", **changes)
    assert len(made) == 2


def test_another_version_of_the_library_can_make_all_entries_stale(
    case: CaseFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = cache_key(case, CHANNELS, pipeline(), GLIOMA)
    assert cache_key(case, CHANNELS, pipeline(), GLIOMA) == before
    monkeypatch.setattr(cache, "_VERSION", cache._VERSION + 1)
    assert cache_key(case, CHANNELS, pipeline(), GLIOMA) != before


def test_two_channels_that_swap_their_files_are_another_case(case: CaseFiles) -> None:
    swapped = replace(case, channels={**case.channels, "t1": case.channels["t2"], "t2": case.channels["t1"]})
    assert cache_key(case, CHANNELS, pipeline(), GLIOMA) != cache_key(swapped, CHANNELS, pipeline(), GLIOMA)


def test_a_folder_of_slices_is_known_by_all_its_files(tmp_path: Path) -> None:
    series = tmp_path / "t1"
    series.mkdir()
    (series / "1.dcm").write_bytes(b"one")
    (series / "2.dcm").write_bytes(b"two")
    case = CaseFiles("a", {"t1": series})
    before = cache_key(case, ("t1",), pipeline(), LESION)
    (series / "2.dcm").write_bytes(b"2")
    assert cache_key(case, ("t1",), pipeline(), LESION) != before


# What is told


def test_progress_is_told_and_a_missing_channel_or_file_is_named(case: CaseFiles, tmp_path: Path) -> None:
    seen: list[Event] = []
    prepare(case, tmp_path / "cache", on_event=seen.append)
    assert [(event.stage, event.step, event.of) for event in seen if isinstance(event, Progress)] == [
        ("prepare", 0, 1),
        ("prepare", 1, 1),
    ]
    with pytest.raises(InputError, match="'Brats18_A_1' has no channel pd"):
        prepare(case, tmp_path / "cache", channels=("t1", "pd"))
    case.channels["t1"].unlink()
    with pytest.raises(InputError, match=r"_t1\.nii\.gz does not exist"):
        prepare(case, tmp_path / "cache")


def test_what_was_prepared_before_a_stop_stays(tmp_path: Path, made: list[str]) -> None:
    for seed in range(3):
        write_case(tmp_path / "data" / f"Brats18_{seed}_1", seed)
    cancel = CancelToken()

    def stop(event: Event) -> None:
        if isinstance(event, Progress) and event.step == 2:
            cancel.cancel()

    every = find_cases(tmp_path / "data")
    with pytest.raises(Cancelled):
        prepare_cases(every, CHANNELS, pipeline(), GLIOMA, tmp_path / "cache", stop, cancel)
    assert len(made) == 2
    prepare_cases(every, CHANNELS, pipeline(), GLIOMA, tmp_path / "cache")
    assert len(made) == 3


def test_the_folder_is_the_systems_unless_the_user_chose_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRANSFERSEG_CACHE", str(tmp_path))
    assert default_cache() == tmp_path
    monkeypatch.delenv("TRANSFERSEG_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "transferseg"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == Path.home() / ".cache" / "transferseg"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert default_cache() == tmp_path / "TransferSeg" / "cache"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert default_cache() == Path.home() / "Library" / "Caches" / "TransferSeg"


# Never half


@needs_fork
@pytest.mark.parametrize("files", [0, 1, 2, 3])
def test_a_writer_that_is_killed_leaves_no_half_entry(
    case: CaseFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: list[str], files: int
) -> None:
    save = np.save

    def work() -> None:
        written: list[object] = []

        def save_and_die(*args: object) -> None:
            if len(written) == files:
                os.kill(os.getpid(), signal.SIGKILL)
            written.append(args)
            save(*args)  # type: ignore[arg-type]

        np.save = save_and_die  # type: ignore[assignment]
        if files == 3:
            monkeypatch.setattr(cache.json, "dumps", lambda *args, **options: os.kill(os.getpid(), signal.SIGKILL))
        prepare(case, tmp_path / "cache")

    _, status = os.waitpid(in_child(work), 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert not (tmp_path / "cache").exists() or entries(tmp_path / "cache") == []
    assert prepare(case, tmp_path / "cache").image.any()
    assert len(entries(tmp_path / "cache")) == 1
    assert len(made) == 1


def test_a_full_disk_leaves_no_half_entry(case: CaseFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, array: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", fail)
        with pytest.raises(ResourceError, match="disk is full"):
            prepare(case, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    assert prepare(case, tmp_path / "cache").image.any()


@needs_fork
def test_runs_that_prepare_the_same_cases_at_once_all_get_them(tmp_path: Path) -> None:
    for seed in range(2):
        write_case(tmp_path / "data" / f"Brats18_{seed}_1", seed)
    every = find_cases(tmp_path / "data")
    for attempt in range(5):
        folder = tmp_path / f"cache {attempt}"

        def work(folder: Path = folder) -> None:
            for found in prepare_cases(every, CHANNELS, pipeline(), GLIOMA, folder):
                assert np.isfinite(found.image).all()

        children = [in_child(work) for _ in range(4)]
        assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
        assert len(list(folder.iterdir())) == 2


def test_of_two_runs_that_make_an_entry_at_once_the_first_wins(
    case: CaseFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, others = Pipeline.place, []

    def meanwhile(self: Pipeline, *args: object) -> Placed:
        if not others:
            others.append(None)
            others[0] = prepare(case, tmp_path / "cache")  # type: ignore[call-overload]
            others.append(entries(tmp_path / "cache")[0].stat().st_ino)
        return place(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Pipeline, "place", meanwhile)
    mine = prepare(case, tmp_path / "cache")
    assert [path.stat().st_ino for path in (tmp_path / "cache").iterdir()] == others[1:]
    np.testing.assert_array_equal(mine.image, others[0].image)  # type: ignore[union-attr]


# Pruning


def fill(folder: Path, *names: str) -> list[Path]:
    """Entries of about 1000 bytes, each used a minute before the one to its right."""
    made = []
    for age, name in enumerate(reversed(names)):
        entry = folder / name
        entry.mkdir(parents=True)
        (entry / "image.npy").write_bytes(bytes(998))
        (entry / "entry.json").write_text("{}")
        os.utime(entry, (time.time() - 60 * age,) * 2)
        made.append(entry)
    return made[::-1]


def test_the_entries_used_longest_ago_go_first(tmp_path: Path) -> None:
    oldest, older, newer, newest = fill(tmp_path, "d", "a", "c", "b")
    assert prune(tmp_path, 10_000) == 0
    assert prune(tmp_path, 2_000) == 2
    assert [path.exists() for path in (oldest, older, newer, newest)] == [False, False, True, True]


def test_what_is_to_be_kept_is_kept_whatever_its_age_and_the_limit(tmp_path: Path) -> None:
    every = fill(tmp_path, "d", "a", "c", "b")
    assert prune(tmp_path, 0, keep={every[0], every[2]}) == 2
    assert [path.exists() for path in every] == [True, False, True, False]
    assert prune(tmp_path, 0) == 2
    assert list(tmp_path.iterdir()) == []


def test_an_entry_that_is_used_becomes_the_newest(case: CaseFiles, tmp_path: Path) -> None:
    prepare(case, tmp_path / "cache")
    (mine,) = entries(tmp_path / "cache")
    os.utime(mine, (0, 0))
    fill(tmp_path / "cache", "a", "b")
    prepare(case, tmp_path / "cache")
    prune(tmp_path / "cache", cache._size(mine))
    assert entries(tmp_path / "cache") == [mine]


def test_a_run_never_prunes_its_own_cases_be_they_made_or_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: list[str]
) -> None:
    for seed in range(3):
        write_case(tmp_path / "data" / f"Brats18_{seed}_1", seed)
    every = find_cases(tmp_path / "data").cases
    monkeypatch.setattr(cache, "LIMIT_BYTES", 0)
    prepare(every[0], tmp_path / "cache")
    for path in entries(tmp_path / "cache"):
        os.utime(path, (0, 0))
    old, new = fill(tmp_path / "cache", "old", "new")
    os.utime(old, (0, 0))
    os.utime(new, (time.time() + 60,) * 2)
    found = prepare_cases(every, CHANNELS, pipeline(), GLIOMA, tmp_path / "cache")
    assert len(entries(tmp_path / "cache")) == len(found) == len(made) == 3
    assert not old.exists()
    assert not new.exists()


def test_an_entry_counts_as_used_as_soon_as_it_is_found_so_that_another_run_leaves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: list[str]
) -> None:
    for seed in range(2):
        write_case(tmp_path / "data" / f"Brats18_{seed}_1", seed)
    every = find_cases(tmp_path / "data").cases
    prepare(every[0], tmp_path / "cache")
    (mine,) = entries(tmp_path / "cache")
    os.utime(mine, (0, 0))
    place = Pipeline.place

    def meanwhile(self: Pipeline, *args: object) -> Placed:
        (theirs,) = fill(tmp_path / "cache", "theirs")
        os.utime(theirs, (time.time() - 60,) * 2)
        assert prune(tmp_path / "cache", cache._size(mine)) == 1
        return place(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Pipeline, "place", meanwhile)
    prepare_cases(every, CHANNELS, pipeline(), GLIOMA, tmp_path / "cache")
    assert len(made) == 2


def test_what_another_run_has_pruned_meanwhile_is_prepared_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: list[str]
) -> None:
    for seed in range(2):
        write_case(tmp_path / "data" / f"Brats18_{seed}_1", seed)
    every = find_cases(tmp_path / "data").cases
    first = prepare(every[0], tmp_path / "cache")
    place = Pipeline.place

    def meanwhile(self: Pipeline, *args: object) -> Placed:
        monkeypatch.setattr(Pipeline, "place", place)
        assert prune(tmp_path / "cache", 0) == 1
        return place(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Pipeline, "place", meanwhile)
    found = prepare_cases(every, CHANNELS, pipeline(), GLIOMA, tmp_path / "cache")
    assert made == [every[0].name, every[1].name, every[0].name]
    np.testing.assert_array_equal(found[0].image, first.image)


def test_what_a_killed_run_left_is_removed_after_a_day_and_what_is_not_ours_never(tmp_path: Path) -> None:
    key = "0123456789abcdef" * 2
    names = [f".01234567.part.{key}", f".01234567.{key}", f".01234567.old.{key}", ".git", "notes"]
    for age in (0, 2 * 24 * 3600):
        folder = tmp_path / str(age)
        for name in names:
            (folder / name).mkdir(parents=True)
            os.utime(folder / name, (time.time() - age,) * 2)
        (folder / "readme.txt").write_text("mine")
        assert prune(folder, 0) == 0
    assert sorted(path.name for path in (tmp_path / "0").iterdir()) == sorted([*names, "readme.txt"])
    assert sorted(path.name for path in (tmp_path / str(age)).iterdir()) == [".git", "notes", "readme.txt"]


def test_a_folder_that_is_not_there_has_nothing_to_prune(tmp_path: Path) -> None:
    assert prune(tmp_path / "nowhere", 0) == 0


def test_another_brain_mask_is_another_entry(case: CaseFiles, tmp_path: Path) -> None:
    masks = [tmp_path / "one.nii.gz", tmp_path / "two.nii.gz"]
    image = read_volume(case.channels["t1"])
    for number, path in enumerate(masks):
        write_volume(image.with_data(np.full(image.grid.shape, number, np.uint8)), path)
    given = [replace(case, brain=path) for path in (None, *masks)]
    assert len({cache.cache_key(one, CHANNELS, pipeline(), GLIOMA) for one in given}) == 3


def test_another_scaling_of_values_takes_the_costly_part_from_the_cache(
    case: CaseFiles, tmp_path: Path, made: list[str]
) -> None:
    prepare(case, tmp_path / "cache", pipeline=pipeline().without_intensity())
    for name, steps in NORMALISATIONS.items():
        chosen = replace(pipeline(), intensity=steps)
        found = prepare(case, tmp_path / "cache", pipeline=chosen)
        expected = chosen.apply(load_case(case, CHANNELS, GLIOMA), CHANNELS)
        np.testing.assert_array_equal(found.image, expected.image, name)
    assert made == [case.name]
