"""The command, as a user types it: the whole path on phantoms, exit codes, and what it says to bad input."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from TransferSegLib.cli import app
from TransferSegLib.phantom import write_phantoms

torch.set_num_threads(1)

ROOT = Path(__file__).parents[2]
FAST = ["--spacing", "8", "--epochs", "2", "--threads", "1", "--validation", "0.3"]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Models and caches of these tests stay among themselves; letters and blanks as users have them."""
    folder = tmp_path_factory.mktemp("Zuhause müde")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFERSEG_HOME", str(folder / "home"))
        patch.setenv("TRANSFERSEG_CACHE", str(folder / "cache"))
        yield folder


@pytest.fixture(scope="module")
def glioma(home: Path) -> Path:
    return write_phantoms(home / "glioma", "glioma", 5)


@pytest.fixture(scope="module")
def source(home: Path) -> Path:
    lesions = write_phantoms(home / "ms", "ms", 3)
    assert call("pretrain", lesions, "--labels", "lesion", "--out", home / "source", *FAST) == 0
    return home / "source"


@pytest.fixture(scope="module")
def tuned(home: Path, glioma: Path, source: Path) -> Path:
    code = call("finetune", glioma, "--source", source, "--held-out", "0.2", "--out", home / "tuned", *FAST)
    assert code == 0
    return home / "tuned"


@pytest.fixture
def run(home: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = call(*words)
        out, err = capsys.readouterr()
        return code, out, err

    return run


def call(*words: object) -> int:
    """The exit code of the command, run in this process."""
    try:
        app([str(word) for word in words], standalone_mode=True)
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def case_folder(glioma: Path) -> Path:
    return next(path for path in sorted(glioma.glob("*/*")) if path.is_dir())


def copy_case(glioma: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(case_folder(glioma), tmp_path / case_folder(glioma).name))


def image_of(case: Path, ending: str) -> Path:
    return next(case.glob(f"*{ending}.nii.gz"))


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray], shift: float = 0.0) -> Path:
    image = nib.load(path)
    affine = image.affine.copy()
    affine[:3, 3] += shift
    nib.save(nib.Nifti1Image(change(np.asarray(image.dataobj)), affine), path)
    return path


def test_a_fine_tuned_model_segments_and_is_scored(run: Run, tuned: Path, glioma: Path, tmp_path: Path) -> None:
    code, _, err = run("segment", glioma, "--model", tuned, "--out", tmp_path / "out", "--threads", "1")
    assert code == 0, err
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 5
    assert (tmp_path / "out" / "volumes.csv").read_text().startswith("case,whole_ml,core_ml,enhancing_ml")
    code, out, _ = run("evaluate", tmp_path / "out", glioma, "--out", tmp_path / "metrics.csv")
    assert code == 0
    assert "whole" in out
    assert (tmp_path / "metrics_summary.csv").is_file()


def test_a_case_can_be_given_file_by_file(run: Run, tuned: Path, glioma: Path, tmp_path: Path) -> None:
    case = case_folder(glioma)
    channels = {"t1": "t1", "t1c": "t1ce", "t2": "t2", "flair": "flair"}
    text = ",".join(f"{channel}={image_of(case, f'_{ending}')}" for channel, ending in channels.items())
    code, _, err = run("segment", text, "--model", tuned, "--out", tmp_path, "--threads", "1")
    assert code == 0, err
    assert len(list(tmp_path.glob("*.nii.gz"))) == 1


def test_a_model_is_installed_used_by_name_exported_and_removed(run: Run, tuned: Path, tmp_path: Path) -> None:
    assert run("models", "install", tuned, "--name", "mine")[0] == 0
    assert "mine" in run("models", "list")[1]
    assert "Research use only" in run("models", "show", "mine")[1]
    assert run("models", "export", "mine", tmp_path / "mine.zip")[0] == 0
    assert run("models", "verify", tmp_path / "mine.zip")[0] == 0
    assert run("models", "rename", "mine", "ours")[0] == 0
    assert run("models", "remove", "ours")[0] == 0
    assert run("models", "show", "ours")[0] == 2


def test_one_bad_case_does_not_stop_the_others(run: Run, tuned: Path, glioma: Path, tmp_path: Path) -> None:
    bad = copy_case(glioma, tmp_path / "bad")
    image_of(bad, "_t2").write_bytes(b"no image")
    good = sorted(path for path in glioma.glob("*/*") if path.is_dir())[1]
    code, _, err = run("segment", bad, good, "--model", tuned, "--out", tmp_path / "out", "--threads", "1")
    assert code == 1
    assert f"{bad.name}: {image_of(bad, '_t2')}" in err
    assert [path.name for path in (tmp_path / "out").glob("*.nii.gz")] == [f"{good.name}.nii.gz"]


def test_events_are_ascii_json_lines_and_so_is_an_error(run: Run, tuned: Path, tmp_path: Path) -> None:
    missing = tmp_path / "gibt es nicht, ähm"
    code, out, _ = run("segment", missing, "--model", tuned, "--out", tmp_path / "out", "--events")
    assert code == 2
    assert out.isascii()
    (event,) = [json.loads(line) for line in out.splitlines()]
    assert (event["event"], event["kind"]) == ("error", "input")
    assert str(missing) in event["cause"]


def nothing(values: np.ndarray) -> np.ndarray:
    return values


BAD = {
    "truncated": (
        "_t1",
        lambda path: path.write_bytes(path.read_bytes()[:-2000]),
        "is damaged: the compressed data ends too early.",
    ),
    "text": (
        "_t1",
        lambda path: path.write_bytes(gzip.compress(b"hello, this is a text" * 40)),
        "is not a NIfTI image.",
    ),
    "constant": ("_t1", lambda path: rewrite(path, np.ones_like), "is constant: every voxel is 1."),
    "nan": (
        "_t1",
        lambda path: rewrite(path, lambda v: np.where(v > v.mean(), np.nan, v).astype(np.float32)),
        "voxels that are NaN or infinite.",
    ),
    "4D": ("_t1", lambda path: rewrite(path, lambda v: np.stack([v, v], -1)), "is 4D with the shape (56, 68, 56, 2)."),
    "elsewhere": ("_t1", lambda path: rewrite(path, nothing, shift=900.0), "covers only 0% of the reference image"),
    "unknown label": ("_seg", lambda path: rewrite(path, lambda v: np.where(v == 2, 9, v)), "has the unknown label 9."),
    "label of another shape": ("_seg", lambda path: rewrite(path, lambda v: v[:-3]), "has the shape (53, 68, 56)"),
    "missing channel": ("_t1", lambda path: path.unlink(), "has no channel t1;"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_named_with_its_remedy(run: Run, glioma: Path, tmp_path: Path, kind: str) -> None:
    ending, spoil, message = BAD[kind]
    for case in sorted(path for path in glioma.glob("*/*") if path.is_dir())[:2]:
        shutil.copytree(case, tmp_path / "data" / "HGG" / case.name)
    spoil(image_of(case_folder(tmp_path / "data"), ending))
    code, _, err = run("pretrain", tmp_path / "data", "--out", tmp_path / "out", *FAST[:-2], "--validation", "0")
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "out" / "model").exists()


def test_an_image_that_is_empty_of_labels_is_a_warning(run: Run, glioma: Path, tmp_path: Path) -> None:
    for case in sorted(path for path in glioma.glob("*/*") if path.is_dir())[:3]:
        shutil.copytree(case, tmp_path / "data" / "HGG" / case.name)
    rewrite(image_of(case_folder(tmp_path / "data"), "_seg"), np.zeros_like)
    code, _, err = run("pretrain", tmp_path / "data", "--out", tmp_path / "out", *FAST[:-2], "--validation", "0")
    assert code == 0
    assert "is empty: no voxel is labelled." in err


def test_a_model_whose_weights_were_changed_is_refused(run: Run, tuned: Path, glioma: Path, tmp_path: Path) -> None:
    shutil.copytree(tuned / "model", tmp_path / "model")
    weights = tmp_path / "model" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    code, _, err = run("segment", glioma, "--model", tmp_path / "model", "--out", tmp_path / "out")
    assert code == 2
    assert "do not match the card" in err


def test_an_output_folder_that_is_a_file_is_refused(run: Run, tuned: Path, glioma: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    code, _, err = run("segment", case_folder(glioma), "--model", tuned, "--out", tmp_path / "out", "--threads", "1")
    assert code == 2
    assert "a file stands in the way" in err
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--strategy", "some"], "There is no strategy 'some'."),
        (["--augmentation", "blur"], "There is no augmentation 'blur'."),
        (["--epochs", "0"], "--epochs cannot be 0."),
        (["--held-out", "nobody"], "There is no case 'nobody'."),
        (["--labels", "kidney"], "There is no label scheme 'kidney'."),
        (["--source", "ms-legion"], "ms-legion"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    run: Run, glioma: Path, source: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    given = [] if "--source" in words else ["--source", str(source)]
    code, _, err = run("finetune", glioma, "--out", tmp_path / "out", *given, *words)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_a_cancel_file_stops_a_run_and_resume_finishes_it(run: Run, glioma: Path, source: Path, tmp_path: Path) -> None:
    words = ["finetune", glioma, "--source", source, "--out", tmp_path / "out", *FAST]
    (tmp_path / "stop").touch()
    assert run(*words, "--cancel-file", tmp_path / "stop")[0] == 3
    assert not list(tmp_path.rglob("*.part.*"))
    assert run(*words, "--resume" if (tmp_path / "out" / "checkpoint.safetensors").exists() else "--threads=1")[0] == 0
    assert (tmp_path / "out" / "model" / "model.json").is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_keeps_the_best_model_so_far(home: Path, glioma: Path, source: Path, tmp_path: Path) -> None:
    words = [
        "finetune",
        glioma,
        "--source",
        source,
        "--out",
        tmp_path / "out",
        "--epochs",
        "10000",
        *FAST[:2],
        "--events",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "TransferSegLib", *map(str, words), "--threads", "1"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["event"] == "metric" and json.loads(line)["step"] >= 2:
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 3, err
    assert "Traceback" not in err
    assert (tmp_path / "out" / "model" / "weights.safetensors").is_file()


@pytest.mark.parametrize("command", ["finetune", "pretrain", "segment", "evaluate", "preprocess", "demo"])
def test_help_shows_an_example(run: Run, command: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert f"transferseg {command}" in out


def test_help_is_there_at_once_because_nothing_heavy_is_imported() -> None:
    program = "import sys, TransferSegLib.cli; print([n for n in ('torch', 'numpy', 'monai') if n in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
