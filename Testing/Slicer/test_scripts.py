"""The batch scripts, run as a user runs them: by a Slicer without a window."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import slicer
from SlicerHost.host import is_real_slicer

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "TransferSeg" / "Scripts"


def run(script, *arguments, home, folder=None):
    """A finished process."""
    options = ["--no-splash", "--no-main-window", "--python-script", str(SCRIPTS / script), *map(str, arguments)]
    environment = {**os.environ, "TRANSFERSEG_HOME": str(home), "QT_QPA_PLATFORM": "offscreen"}
    if is_real_slicer():
        command = [slicer.app.applicationFilePath(), *options]
    else:
        command = [sys.executable, "-m", "SlicerHost", *options]
        environment["PYTHONPATH"] = str(ROOT / "Testing")
    return subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture(scope="module")
def byHand(tmp_path_factory):
    """A model that calls a lesion what is brighter than 150."""
    from hand_model import threshold_model

    from TransferSegLib.model import save_model

    return save_model(threshold_model(), tmp_path_factory.mktemp("model") / "by-hand")


@pytest.fixture
def dataset(tmp_path):
    """Two good cases, and one whose image is damaged."""
    from hand_model import LESION_AT, LESION_MM, write_head
    from phantoms import make_grid

    for name in ("a", "b", "c"):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        write_head(folder, name, dict.fromkeys(("t1", "flair"), make_grid()), {"flair": [(LESION_AT, LESION_MM)]})
    (tmp_path / "data" / "b" / "b_t1.nii.gz").write_bytes(b"no image")
    return tmp_path / "data"


def test_one_bad_case_is_named_and_does_not_stop_the_others(dataset, byHand, tmp_path):
    out = tmp_path / "out"
    done = run("segment_cases.py", dataset, "--model", byHand, "--out", out, "--segmentations", home=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "b: " in done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert {path.name for path in out.iterdir()} == {"a.nii.gz", "a.seg.nrrd", "c.nii.gz", "c.seg.nrrd", "volumes.csv"}
    node = slicer.util.loadSegmentation(str(out / "a.seg.nrrd"))
    assert node.GetSegmentation().GetNthSegment(0).GetName() == "lesion"
    from hand_model import LESION_ML

    from TransferSegLib.tables import read_table

    volumes = [float(row["lesion_ml"]) for _number, row in read_table(out / "volumes.csv")[1]]
    assert np.allclose(volumes, LESION_ML, rtol=0.15)


def test_all_good_ends_with_0(dataset, byHand, tmp_path):
    done = run(
        "segment_cases.py", dataset / "a", "--model", byHand, "--out", tmp_path / "out", "--quiet", home=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "a.nii.gz").exists()


def test_paths_may_be_relative(dataset, byHand, tmp_path):
    done = run(
        "segment_cases.py",
        *(dataset.relative_to(tmp_path) / "a", "--model", byHand, "--out", "out", "--segmentations"),
        home=tmp_path,
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "a.seg.nrrd").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere", "--model", "ms-lesion-fast", "--out", "out"), "nowhere"),
        (("nowhere", "--out", "out"), "--model"),
        (("nowhere", "--model", "no-such-model", "--out", "out"), "no-such-model"),
    ],
)
def test_bad_usage_ends_with_2_and_the_reason(arguments, words, tmp_path):
    done = run("segment_cases.py", *arguments, home=tmp_path)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr


def test_finetuning_makes_a_model_and_installs_it(tmp_path):
    from TransferSegLib.simulate import simulate_dataset

    simulate_dataset("glioma", tmp_path / "data", 2, 0, 6.0)
    options = (
        "--source",
        "ms-lesion-fast",
        "--spacing",
        "6",
        "--epochs",
        "1",
        "--validation",
        "0",
        "--name",
        "batch-made",
    )
    done = run(
        "finetune_cases.py", "data", *options, "--out", "run", "--install", home=tmp_path / "home", folder=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "home" / "models" / "batch-made" / "model.json").exists()
    assert (tmp_path / "run").is_dir()
