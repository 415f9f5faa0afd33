"""The command from end to end: the whole story, exit codes, events, ways to stop it, names in any alphabet."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from brains import write_case, write_dataset
from command import TINY, TORCH, Done, error, private_folders, run, start

from TransferSegLib import announcement, registry
from TransferSegLib.labels import LabelClass, LabelScheme
from TransferSegLib.model import load_model, verify_model
from TransferSegLib.registry import list_models
from TransferSegLib.strategies import STRATEGIES
from TransferSegLib.tables import read_table
from TransferSegLib.volume import read_volume


class World(NamedTuple):
    """Data and models that the tests read."""

    folder: Path
    lesions: Path
    tumours: Path
    source: Path
    tuned: Path
    pretrained: Done
    finetuned: Done


@pytest.fixture(scope="module", autouse=True)
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with private_folders(tmp_path_factory.mktemp("homes")) as folder:
        yield folder


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, homes: Path) -> World:
    folder = tmp_path_factory.mktemp("world with späces")
    lesions = write_dataset(folder / "lesions", 3, "lesion")
    tumours = write_dataset(folder / "tumours", 4)
    source, tuned = folder / "source", folder / "tuned"
    pretrained = run("pretrain", lesions, "--out", source, "--epochs", 1, *TINY)
    finetuned = run(
        *("finetune", tumours, "--source", source, "--strategy", "all", "--out", tuned, "--epochs", 2, *TINY[2:]),
        *("--held-out", "Brats18_Site03_1", "--name", "My glioma", "--licence", "CC-BY-4.0"),
    )
    return World(folder, lesions, tumours, source, tuned, pretrained, finetuned)


@pytest.fixture
def case(tmp_path: Path) -> Path:
    return write_case(tmp_path / "Brats18_anna")


def leftovers(folder: Path) -> list[str]:
    """What was being written when the command was stopped."""
    return [path.name for path in folder.rglob("*") if ".part." in path.name or ".old." in path.name]


class TestTheStory:
    def test_pretrain_makes_a_source_model_at_the_spacing_asked_for(self, world: World) -> None:
        assert world.pretrained.code == 0
        assert ["model", str(world.source / "model")] == world.pretrained.out.splitlines()[0].split(None, 1)
        card = load_model(world.source).card
        assert (card.name, card.training.strategy, card.training.parent) == ("source", "scratch", None)
        assert card.labels.name == "lesion"
        assert card.spacing_mm == (6, 6, 6)

    def test_finetune_adapts_it_and_tests_it_on_the_held_out_case(self, world: World) -> None:
        assert world.finetuned.code == 0
        card = load_model(world.tuned).card
        assert (card.name, card.training.strategy, card.training.parent) == ("my-glioma", "all", "source")
        assert (card.labels.name, card.spacing_mm, card.licence) == ("glioma", (6, 6, 6), "CC-BY-4.0")
        assert card.training.hyperparameters["epochs"] == 2
        assert (world.tuned / "held-out" / "Brats18_Site03_1.nii.gz").exists()
        lines = world.finetuned.out.splitlines()
        assert lines[0].split(None, 1) == ["model", str(world.tuned / "model")]
        header = next(line for line in lines if line.startswith("region"))
        assert header.split()[:3] == ["region", "cases", "dice"]
        assert [line.split()[0] for line in lines[lines.index(header) + 2 :]][:3] == ["whole", "core", "enhancing"]

    def test_it_says_beforehand_what_will_be_done_and_then_how_it_goes(self, world: World) -> None:
        text = world.finetuned.err
        assert f"Strategy 'all': {STRATEGIES['all'].explanation}" in text
        assert re.search(r"^last convolutions +new +1,304 +1,304$", text, re.MULTILINE)
        assert "Cases: 2 to train, 1 to choose the best epoch, 1 held out." in text
        assert re.search(r"^epoch +loss +learning rate +dice whole +dice core +dice enhancing$", text, re.MULTILINE)
        assert [line.split()[0] for line in text.splitlines() if re.match(r" +\d+ ", line)] == ["1", "2"]

    def test_finetune_takes_labels_that_the_user_has_named(self, world: World, tmp_path: Path) -> None:
        rim, names = 'äußerer Rand – "hell", 2', ("Hintergrund", "tumour core", "Ödem")
        classes = tuple(
            LabelClass(name, (code,), (code, 2, 3)) for name, code in zip((*names, rim), (0, 1, 2, 4), strict=True)
        )
        scheme = LabelScheme("Schema der Klinik", classes, {"tumour core": ("tumour core",), "Rest 脳": ("Ödem", rim)})
        file = tmp_path / "unser schema é.json"
        file.write_text(json.dumps(scheme.to_dict(), ensure_ascii=False), "utf-8")
        done = run(
            *("finetune", world.tumours, "--source", world.source, "--labels", file, "--out", tmp_path / "run"),
            *("--held-out", "Brats18_Site03_1", "--epochs", 1, "--events", *TINY[2:]),
        )
        assert done.code == 0
        assert load_model(tmp_path / "run").scheme == scheme
        (result,) = done.of("result")
        assert {"held-out dice tumour core", "held-out dice Rest 脳"} < result["values"].keys()
        _, rows = read_table(tmp_path / "run" / "held-out" / "metrics.csv")
        assert {row["region"] for _, row in rows} == {"tumour core", "Rest 脳", "Ödem", rim}
        label = read_volume(tmp_path / "run" / "held-out" / "Brats18_Site03_1.nii.gz")
        assert set(np.unique(label.data)) <= {0, 1, 2, 4}

    def test_segment_takes_a_dataset(self, world: World, tmp_path: Path) -> None:
        done = run("segment", world.tumours, "--model", world.tuned, "--out", tmp_path, *TORCH)
        assert done.code == 0
        names = [f"Brats18_Site{number:02d}_1" for number in range(4)]
        assert sorted(item.name for item in tmp_path.iterdir()) == [*(f"{n}.nii.gz" for n in names), "volumes.csv"]
        assert done.out.splitlines() == ["written  4", "failed   0", f"folder   {tmp_path}"]
        _, rows = read_table(tmp_path / "volumes.csv")
        assert [row["case"] for _, row in rows] == names
        label = read_volume(tmp_path / f"{names[0]}.nii.gz")
        image = read_volume(world.tumours / "HGG" / names[0] / f"{names[0]}_flair.nii.gz")
        assert label.grid.matches(image.grid)
        assert set(np.unique(label.data)) <= {0, 1, 2, 4}

    def test_segment_takes_channels_file_by_file_with_every_option(self, world: World, case: Path) -> None:
        given = ",".join(f"{c}={case}/Brats18_anna_{c}.nii.gz" for c in ("t1", "t1c", "t2", "flair"))
        out = case.parent / "out"
        options = (
            "--flips",
            "--probabilities",
            "--brats",
            "--reference",
            "t1",
            "--memory",
            1,
            "--precision",
            "float32",
        )
        done = run("segment", f"name=anna,{given}", "--model", world.tuned, "--out", out, *options, *TORCH)
        assert done.code == 0
        names = [f"anna{end}" for end in ("", *(f"_probability-{c}" for c in ("edema", "enhancing", "necrotic")))]
        assert sorted(item.name for item in out.iterdir()) == [*(f"{name}.nii.gz" for name in names), "volumes.csv"]
        assert "Warning: anna: The grid (16, 16, 16) is not that of BraTS." in done.err.splitlines()

    def test_segment_takes_several_cases_at_once(self, world: World, case: Path) -> None:
        other = write_case(case.parent / "Brats18_bert", 1)
        out = case.parent / "out"
        assert run("segment", case, other, "--model", world.tuned, "--out", out, *TORCH).code == 0
        assert sorted(item.name for item in out.glob("*.gz")) == ["Brats18_anna.nii.gz", "Brats18_bert.nii.gz"]

    def test_evaluate_compares_with_the_dataset(self, world: World, tmp_path: Path) -> None:
        table = tmp_path / "metrics.csv"
        done = run("evaluate", world.tuned / "held-out", world.tumours, "--out", table)
        assert done.code == 0
        assert done.out.splitlines()[:3] == ["compared  1", "failed    0", f"table     {table}"]
        assert done.out.splitlines()[3].split()[:3] == ["region", "cases", "dice"]
        _, rows = read_table(table)
        assert {row["case"] for _, row in rows} == {"Brats18_Site03_1"}
        assert (tmp_path / "metrics_summary.csv").exists()
        again, _ = read_table(world.tuned / "held-out" / "metrics.csv")
        assert "dice" in again

    def test_evaluate_takes_two_folders_of_label_maps(self, world: World, tmp_path: Path) -> None:
        label = world.tuned / "held-out" / "Brats18_Site03_1.nii.gz"
        for side in ("ours", "theirs"):
            (tmp_path / side).mkdir()
            shutil.copy(label, tmp_path / side / "anna.nii.gz")
        done = run(
            "evaluate", tmp_path / "ours", tmp_path / "theirs", "--labels", "glioma", "--out", tmp_path / "m.csv"
        )
        assert done.code == 0
        assert next(line for line in done.out.splitlines() if line.startswith("whole")).split()[:3] == [
            "whole",
            "1",
            "1",
        ]

    def test_preprocess_writes_what_the_network_would_see(self, world: World, case: Path) -> None:
        out = case.parent / "out"
        done = run("preprocess", case, "--out", out, "--model", world.tuned, "--threads", 1)
        assert done.code == 0
        assert done.out.splitlines() == ["written  1", "failed   0", f"folder   {out}"]
        image = read_volume(out / "Brats18_anna" / "t1c.nii.gz")
        assert image.grid.spacing == pytest.approx((6, 6, 6), abs=0.3)
        given = run("preprocess", case, "--out", out, "--spacing", 8, "--channels", "t1,flair", "--normalise", "minmax")
        assert given.code == 0
        assert read_volume(out / "Brats18_anna" / "t1.nii.gz").grid.spacing == pytest.approx((8, 8, 8), abs=0.5)

    def test_a_model_goes_from_hand_to_hand(
        self, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(registry, "SHIPPED_FOLDER", tmp_path / "none")
        assert run("models", "list").out.startswith("No models yet.")
        done = run("models", "install", world.tuned, "--name", "first")
        assert (done.code, done.out.split(" in ")[0]) == (0, "Installed first")
        assert [entry.name for entry in list_models()] == ["first"]
        lines = run("models", "list").out.splitlines()
        assert lines[0].split() == ["name", "version", "origin", "title"]
        assert lines[2].split()[:3] == ["first", "1.0", "installed"]
        assert "# Glioma segmentation" in run("models", "show", "first").out
        archive = tmp_path / "to give away.zip"
        assert run("models", "export", "first", archive).out == f"{archive}\n"
        assert verify_model(archive)
        done = run("models", "verify", archive)
        assert done.code == 0
        assert all(line.startswith("ok  ") for line in done.out.splitlines())
        assert run("models", "rename", "first", "second").out == "Renamed to second\n"
        again = run("models", "install", archive, "--name", "second")
        assert again.code == 2
        assert again.err.splitlines() == error(
            "A model 'second' is installed already.", "Choose another name, or replace it."
        )
        assert run("models", "install", archive, "--name", "second", "--replace").code == 0
        assert run("models", "remove", "second").out == "Removed second\n"
        assert list_models() == []
        assert run("models", "show", "second").code == 2

    def test_a_model_is_exported_for_other_programs(self, world: World, tmp_path: Path) -> None:
        onnx = pytest.importorskip("onnx")
        pytest.importorskip("onnxscript")
        done = run("models", "export", world.tuned, tmp_path / "model.onnx")
        assert done.code == 0
        graph = onnx.load(tmp_path / "model.onnx").graph
        assert ([item.name for item in graph.input], [item.name for item in graph.output]) == (["image"], ["logits"])

    def test_a_run_that_is_finished_is_not_overwritten(self, world: World) -> None:
        done = run("pretrain", world.lesions, "--out", world.source, "--epochs", 1, *TINY)
        assert done.code == 2
        assert done.told[0] == f"Error: {world.source} holds a run already."

    def test_demo_runs_where_it_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        told: list[Path] = []

        def fake(out: Path, on_event: object, cancel: object) -> list[list[str]]:
            told.append(out)
            return [["strategy", "Dice"], ["all", "0.9"]]

        monkeypatch.setattr("TransferSegLib.demo.run_demo", fake)
        done = run("demo", "--out", tmp_path / "demo")
        assert (done.code, told) == (0, [tmp_path / "demo"])
        assert done.out.splitlines() == ["strategy  Dice", "--------  ----", "all       0.9"]
        assert run("demo", "--out", tmp_path / "demo", "--events").out == ""


class TestSomeCasesFailed:
    @pytest.fixture
    def two(self, case: Path) -> Path:
        """A good case and a bad one."""
        folder = case.parent / "two"
        shutil.move(case, folder / "Brats18_good")
        for file in (folder / "Brats18_good").iterdir():
            file.rename(file.with_name(file.name.replace("anna", "good")))
        write_case(folder / "Brats18_bad", 1)
        (folder / "Brats18_bad" / "Brats18_bad_t2.nii.gz").write_text("hello")
        return folder

    @pytest.mark.parametrize("command", ["segment", "preprocess"])
    def test_the_bad_one_is_named_and_the_good_one_written(self, world: World, two: Path, command: str) -> None:
        out = two.parent / "out"
        options = TORCH if command == "segment" else ()
        done = run(command, two, "--model", world.tuned, "--out", out, *options)
        assert done.code == 1
        at = done.err.splitlines().index(
            f"Error: Brats18_bad: {two / 'Brats18_bad' / 'Brats18_bad_t2.nii.gz'} is not a NIfTI image."
        )
        assert done.err.splitlines()[at + 1] == "       Check what kind of file it is."
        assert done.out.splitlines()[:2] == ["written  1", "failed   1"]
        made = {path.name.split(".")[0] for path in out.iterdir()} - {"volumes"}
        assert made == {"Brats18_good"}

    def test_evaluate_goes_on_too(self, world: World, two: Path) -> None:
        ours, theirs = two.parent / "ours", two.parent / "theirs"
        for name in ("good", "bad"):
            for side in (ours, theirs):
                side.mkdir(exist_ok=True)
                shutil.copy(two / f"Brats18_{name}" / f"Brats18_{name}_seg.nii.gz", side / f"{name}.nii.gz")
        (ours / "bad.nii.gz").write_text("hello")
        done = run("evaluate", ours, theirs, "--labels", "glioma", "--out", two.parent / "m.csv")
        assert done.code == 1
        assert f"Error: bad: {ours / 'bad.nii.gz'} is not a NIfTI image." in done.err.splitlines()
        assert done.out.splitlines()[:2] == ["compared  1", "failed    1"]


class TestEvents:
    def test_a_training_tells_all_of_its_kinds(self, world: World, tmp_path: Path) -> None:
        done = run(
            *("finetune", world.tumours, "--strategy", "scratch", "--out", tmp_path / "out", "--epochs", 1, *TINY),
            *("--held-out", "0.25", "--events"),
        )
        assert done.code == 0
        kinds = [event["event"] for event in done.events]
        assert set(kinds) == {"progress", "message", "plan", "metric", "result"}
        assert kinds[-1] == "result"
        assert {event["stage"] for event in done.of("progress")} == {"prepare", "train", "test"}
        (result,) = done.of("result")
        assert result["values"]["model"] == str(tmp_path / "out" / "model")
        assert result["values"]["cancelled"] is False

    @pytest.mark.parametrize(
        ("command", "reporting"), [(("finetune", "--strategy", "scratch"), ("--events",)), (("pretrain",), ())]
    )
    def test_a_training_shows_on_request_what_the_network_gives(
        self, world: World, tmp_path: Path, command: tuple[str, ...], reporting: tuple[str, ...]
    ) -> None:
        file = tmp_path / "live" / "vorschau.nii.gz"
        options = ("--epochs", 1, "--validation", "Brats18_Site02_1", "--preview", file, *TINY, *reporting)
        done = run(*command, world.tumours, "--out", tmp_path / "out", *options)
        assert done.code == 0
        assert set(np.unique(read_volume(file).data)) <= {0, 1, 2, 4}
        if reporting:
            assert done.of("preview") == [
                {"event": "preview", "case": "Brats18_Site02_1", "file": str(file), "epoch": 1}
            ]
        else:
            assert "vorschau" not in done.out + done.err, "it is no news for people who see the file change"

    @pytest.mark.parametrize(
        ("command", "expected"),
        [
            ("segment", {"written": 1, "failed": 0}),
            ("preprocess", {"written": 1, "failed": 0}),
            ("evaluate", {"compared": 1, "failed": 0}),
        ],
    )
    def test_nothing_else_stands_on_standard_output(
        self, world: World, case: Path, command: str, expected: dict[str, int]
    ) -> None:
        out = case.parent / "out"
        arguments: tuple[object, ...] = (case, "--model", world.tuned, "--out", out)
        if command == "segment":
            arguments = (*arguments, *TORCH)
        if command == "evaluate":
            arguments = (world.tuned / "held-out", world.tumours, "--out", out / "metrics.csv")
        done = run(command, *arguments, "--events")
        assert done.code == 0
        assert done.events[-1]["event"] == "result"
        assert expected.items() <= done.events[-1]["values"].items()

    def test_an_error_is_one_line_with_kind_cause_and_remedy(self, world: World, tmp_path: Path) -> None:
        done = run("segment", tmp_path / "nowhere", "--model", world.tuned, "--out", tmp_path, "--events")
        assert done.code == 2
        assert done.events == [
            {
                "event": "error",
                "kind": "input",
                "cause": f"{tmp_path / 'nowhere'} does not exist.",
                "remedy": "Check the path.",
                "case": "",
            }
        ]

    def test_what_the_recipe_refuses_is_such_a_line(self, world: World, tmp_path: Path) -> None:
        done = run("pretrain", world.lesions, "--out", tmp_path / "out", "--epochs", -1, "--events")
        assert done.code == 2
        assert [(event["kind"], event["cause"]) for event in done.events] == [("input", "--epochs cannot be -1.")]
        assert done.err == ""


class TestStopping:
    def test_a_cancel_file_that_is_there_from_the_start_stops_before_anything_is_made(
        self, world: World, tmp_path: Path
    ) -> None:
        stop = tmp_path / "stop"
        stop.touch()
        for arguments in (
            ("pretrain", world.lesions, "--epochs", 5, *TINY),
            ("segment", world.tumours, "--model", world.tuned, *TORCH),
            ("evaluate", world.tuned / "held-out", world.tumours),
            ("preprocess", world.tumours),
        ):
            done = run(*arguments, "--out", tmp_path / "out", "--cancel-file", stop)
            assert done.code == 3, arguments
            assert done.told[-1] == "Error: Stopped on request.", arguments
            assert not (tmp_path / "out").exists(), arguments

    def test_with_events_it_says_so(self, world: World, tmp_path: Path) -> None:
        stop = tmp_path / "stop"
        stop.touch()
        done = run("preprocess", world.tumours, "--out", tmp_path / "out", "--cancel-file", stop, "--events")
        assert done.code == 3
        assert [event["kind"] for event in done.of("error")] == ["cancelled"]

    def test_a_cancel_file_made_midway_keeps_the_best_model_and_the_run_goes_on_with_resume(
        self, world: World, tmp_path: Path
    ) -> None:
        out, stop = tmp_path / "out", tmp_path / "stop"
        arguments = ("pretrain", world.lesions, "--out", out, *TINY, "--epochs", 100)

        def wait_and_stop() -> None:
            until = time.monotonic() + 60
            while not (out / "checkpoint.safetensors").exists() and time.monotonic() < until:
                time.sleep(0.01)
            stop.touch()

        watcher = threading.Thread(target=wait_and_stop)
        watcher.start()
        done = run(*arguments, "--cancel-file", stop)
        watcher.join()
        assert done.code == 3
        assert "Stopped on request. The best model so far is kept; --resume goes on." in done.err.splitlines()
        check_stopped(out, 100)
        again = run(*arguments)
        assert again.code == 2
        assert again.told[0] == f"Error: {out} holds a run already."
        resumed = run(*arguments, "--resume")
        assert resumed.code == 0
        assert [row["epoch"] for _, row in read_table(out / "history.csv")[1]] == [str(n) for n in range(1, 101)]

    @pytest.mark.parametrize("how", ["signal", "standard input"])
    def test_a_process_that_is_told_to_stop_leaves_a_valid_model_and_no_rubbish(
        self, world: World, tmp_path: Path, how: str
    ) -> None:
        if how == "signal" and os.name == "nt":
            pytest.skip("Windows has no such signal")
        options = ("--events",) if how == "signal" else ("--events", "--cancel-on-eof")
        arguments = ("pretrain", world.lesions, "--out", tmp_path / "out", "--epochs", 2000, *TINY)
        process = start(*arguments, *options)
        assert process.stdin is not None
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line)["event"] == "metric":
                break
        if how == "signal":
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        else:
            out, err = process.communicate(timeout=60)  # closes it
        assert process.returncode == 3
        assert err == ""
        events = [json.loads(line) for line in out.splitlines()]
        assert [event["values"]["cancelled"] for event in events if event["event"] == "result"] == [True]
        check_stopped(tmp_path / "out", 2000)


def check_stopped(out: Path, epochs: int) -> None:
    """A model of the best epoch until then, the checkpoint to go on from, and nothing half-written."""
    assert verify_model(out / "model")
    rows = read_table(out / "history.csv")[1]
    assert 1 <= len(rows) < epochs
    best = load_model(out).card.training.hyperparameters["best_epoch"]
    scores = [float(row["pr_auc"]) for _, row in rows]
    assert scores[best - 1] == max(scores)
    assert sorted(item.name for item in out.iterdir()) == ["checkpoint.safetensors", "history.csv", "model"]
    assert leftovers(out) == []


def test_too_little_memory_is_told_before_the_training_starts(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcement, "available_bytes", lambda: 100 * 2**20)
    done = run("pretrain", world.lesions, "--out", tmp_path / "out", "--device", "cpu", *TINY)
    assert done.code == 4
    assert done.told == error(
        "Training needs about 0.5 GB of memory, 0.1 GB are free.",
        "Train on smaller patches (--patch 96), or on a coarser grid (--spacing 2).",
    )
    assert not (tmp_path / "out").exists()


class TestAnyLetter:
    """File names hold any letter; the command copes in whatever locale it is started."""

    @pytest.mark.parametrize("environment", [{}, {"LC_ALL": "C", "PYTHONUTF8": "0"}], ids=["as it is", "C"])
    def test_names_with_spaces_and_other_alphabets(
        self, world: World, tmp_path: Path, environment: dict[str, str]
    ) -> None:
        folder = tmp_path / "Ordner mit Lücken 脳"
        write_case(folder / "Brats18 Müller 患者")
        model = shutil.copytree(world.tuned / "model", folder / "modèle")
        process = start(
            *("segment", folder / "Brats18 Müller 患者", "--model", model, "--out", folder / "ergebnis ü"),
            *(*TORCH, "--events"),
            **environment,
        )
        out, err = process.communicate(timeout=120)
        assert (process.returncode, err) == (0, "")
        done = Done(process.returncode, out, err)
        assert done.of("result")[0]["values"]["folder"] == str(folder / "ergebnis ü")
        assert sorted(item.name for item in (folder / "ergebnis ü").iterdir()) == [
            "Brats18 Müller 患者.nii.gz",
            "volumes.csv",
        ]
        assert "Müller 患者," in (folder / "ergebnis ü" / "volumes.csv").read_text("utf-8")

    def test_an_error_names_such_a_file(self, tmp_path: Path) -> None:
        done = run("segment", tmp_path / "Müller 脳", "--model", tmp_path / "modèle", "--out", tmp_path)
        assert done.code == 2
        assert done.err.splitlines()[0] == f"Error: {tmp_path / 'modèle'} does not exist."

    def test_a_training_takes_its_name_from_such_a_folder(self, world: World, tmp_path: Path) -> None:
        data = shutil.copytree(world.lesions, tmp_path / "Läsionen")
        done = run("pretrain", data, "--out", tmp_path / "Müllers Modell", "--epochs", 1, *TINY)
        assert done.code == 0
        assert load_model(tmp_path / "Müllers Modell").card.name == "m-llers-modell"
