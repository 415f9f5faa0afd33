"""Outside brain extraction: each tool gets what it needs, its mask comes back, its failures are told."""

import json
import os
import sys
import time
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from phantoms import GRIDS, ball, make_grid, points

from TransferSegLib.errors import Cancelled, DependencyError, InputError
from TransferSegLib.events import CancelToken, Message, Progress
from TransferSegLib.preprocess import extractors
from TransferSegLib.preprocess.extractors import extract
from TransferSegLib.volume import Volume

CENTRE = (1.0, -2.0, 1.5)

# What the tools do, short: they read the image and take what is bright. The options are those of HD-BET 2.0 and of
# SynthStrip in FreeSurfer 7.4; others are refused.
READ = """
import argparse, json, os, sys, time
import nibabel as nib, numpy as np
def bright(source, target):
    image = nib.load(source)
    print("reading", image.shape)
    open({log!r}, "w").write(json.dumps([os.getcwd(), image.affine.tolist(), sys.argv[1:]]))
    nib.save(nib.Nifti1Image((image.get_fdata() > 50).astype(np.uint8), image.affine), target)
parser = argparse.ArgumentParser(allow_abbrev=False)
"""
HD_BET = """
for name in ("-i", "-o", "-device"): parser.add_argument(name, required=True)
for name in ("--disable_tta", "--save_bet_mask", "--no_bet_image"): parser.add_argument(name, action="store_true")
options = parser.parse_args()
assert options.o.endswith(".nii.gz") and options.save_bet_mask and options.device == "cpu"
bright(options.i, options.o[:-7] + "_bet.nii.gz")
"""
SYNTHSTRIP = """
for name in ("-i", "-m"): parser.add_argument(name, required=True)
options = parser.parse_args()
bright(options.i, options.m)
"""
PROGRAMS = {"hd-bet": ("hd-bet", HD_BET), "synthstrip": ("mri_synthstrip", SYNTHSTRIP)}


def head(grid, radius=15.0):
    """A bright ball in a dark head, and its mask."""
    mask = ball(grid, CENTRE, radius)
    return Volume(np.where(mask, 100, 10).astype(np.float32), grid), mask


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def says(kind, *args, **kwargs):
    with pytest.raises(kind) as caught:
        extract(*args, **kwargs)
    return str(caught.value)


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Writes programs to a folder that is the whole PATH; temporary files go to a folder that must be empty after."""
    folder, temporary = tmp_path / "bin", tmp_path / "temporary"
    folder.mkdir()
    temporary.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr("tempfile.tempdir", str(temporary))

    def write(name, text):
        program = folder / name
        program.write_text(f"#!{sys.executable}\n{text}")
        program.chmod(0o755)

    yield write
    assert list(temporary.iterdir()) == []


class TestPrograms:
    @pytest.mark.parametrize("method", PROGRAMS)
    def test_the_mask_comes_back_on_the_grid_of_the_image(self, method, tools, tmp_path):
        name, text = PROGRAMS[method]
        tools(name, READ.format(log=str(tmp_path / "log")) + text)
        volume, mask = head(GRIDS["oblique"])
        seen = []
        found = extract(method, volume, seen.append)
        assert found.dtype == bool
        np.testing.assert_array_equal(found, mask)
        assert seen == [Message("brain", f"{name} looks for the brain; this can take minutes.")]
        folder, affine, _ = json.loads((tmp_path / "log").read_text())
        assert folder.startswith(str(tmp_path / "temporary"))
        np.testing.assert_allclose(affine, volume.grid.affine, atol=1e-4)

    def test_a_sheared_image_is_made_upright_for_it(self, tools, tmp_path):
        tools("mri_synthstrip", READ.format(log=str(tmp_path / "log")) + SYNTHSTRIP)
        volume, mask = head(GRIDS["sheared"])
        assert dice(extract("synthstrip", volume), mask) > 0.97
        _, affine, _ = json.loads((tmp_path / "log").read_text())
        np.testing.assert_allclose(np.array(affine)[:3, :3], min(volume.grid.spacing) * np.eye(3), atol=1e-5)

    def test_a_mask_on_another_grid_comes_back_through_world_space(self, tools):
        coarse = "nib.load('image.nii.gz').slicer[::2, ::2, ::2]"
        text = f"m = {coarse}; nib.save(nib.Nifti1Image((m.get_fdata() > 50) * np.uint8(7), m.affine), 'mask.nii.gz')"
        tools("mri_synthstrip", "import nibabel as nib, numpy as np\n" + text)
        volume, mask = head(GRIDS["axis-aligned"])
        assert dice(extract("synthstrip", volume), mask) > 0.95

    def test_what_it_says_last_is_told_when_it_fails(self, tools):
        tools("hd-bet", "import sys\nprint('starting')\nprint('CUDA is broken.\\n\\n', file=sys.stderr)\nsys.exit(3)")
        assert says(DependencyError, "hd-bet", head(GRIDS["axis-aligned"])[0]) == (
            "hd-bet failed with exit code 3: CUDA is broken. "
            "Try 'hd-bet' on the image by hand, or use another brain extraction."
        )

    def test_a_program_that_fails_in_silence_is_told(self, tools):
        tools("hd-bet", "raise SystemExit(1)")
        assert "exit code 1: it said nothing." in says(DependencyError, "hd-bet", head(GRIDS["axis-aligned"])[0])

    def test_a_program_that_writes_no_mask_is_told(self, tools):
        tools("hd-bet", "print('unknown image')")
        message = says(DependencyError, "hd-bet", head(GRIDS["axis-aligned"])[0])
        assert message.startswith("hd-bet ended without an error but wrote no mask: unknown image.")

    def test_a_program_that_is_damaged_is_told(self, tools, tmp_path):
        tools("hd-bet", "")
        (tmp_path / "bin" / "hd-bet").write_text("#!/nowhere/python\n")
        assert "hd-bet cannot be started: " in says(DependencyError, "hd-bet", head(GRIDS["axis-aligned"])[0])

    def test_an_empty_mask_is_no_brain(self, tools, tmp_path):
        tools("mri_synthstrip", READ.format(log=str(tmp_path / "log")) + SYNTHSTRIP)
        grid = GRIDS["axis-aligned"]
        dark = Volume(np.ones(grid.shape, np.float32), grid)
        assert says(InputError, "synthstrip", dark) == (
            "mri_synthstrip found no brain in the image. Check that it shows a head."
        )

    @pytest.mark.parametrize("why", ["time", "cancel"])
    def test_it_is_stopped_with_its_workers(self, why, tools, tmp_path):
        worker, token = tmp_path / "worker", CancelToken(tmp_path / "worker" if why == "cancel" else None)
        # The worker's number appears at once, whole, and is the sign to cancel.
        text = f"""
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
open({str(worker)!r} + ".part", "w").write(str(child.pid))
os.replace({str(worker)!r} + ".part", {str(worker)!r})
time.sleep(60)
"""
        tools("hd-bet", text)
        volume = head(make_grid(extent=10))[0]
        begin = time.monotonic()
        if why == "time":
            message = says(DependencyError, "hd-bet", volume, limit_s=1.5)
            assert message.startswith("hd-bet was stopped: it was not done after 1.5 s.")
        else:
            says(Cancelled, "hd-bet", volume, cancel=token)
        assert time.monotonic() - begin < 50
        if worker.exists():
            assert gone(int(worker.read_text()))


def gone(process):
    for _ in range(100):
        try:
            os.kill(process, 0)
            if Path(f"/proc/{process}/stat").read_text().split()[2] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


class Voxels:
    """What the package's surface gives: points in voxel indices, without and with what it encloses."""

    def __init__(self, points, inside):
        self.points, self.inside = points, inside

    def copy(self):
        return Voxels(self.points, self.inside)

    def fill(self):
        self.points = self.inside
        return self


class FakeBet:
    """Looks at the image as BET would, prints as much, and finds the bright ball."""

    made = ()

    def __init__(self, img):
        print("Initializing...")
        FakeBet.made = (*FakeBet.made, img)
        bright = img.get_fdata() > 50
        index = np.argwhere(bright)
        self.centre, self.radius = index.mean(0), np.cbrt(3 * len(index) / 4 / np.pi)
        self.size = bright.shape

    def run(self, iterations):
        for step in range(iterations):
            print(f"Iteration: {step}", end="\r")
        print("Complete.")
        self.surface = self

    def voxelized(self, pitch):
        assert pitch == 1
        # As large as a ball well outside of the image may be: the surface can leave it.
        index = np.stack(np.meshgrid(*(np.arange(-3, side + 3) for side in self.size), indexing="ij"), -1).reshape(
            -1, 3
        )
        distance = np.linalg.norm(index - self.centre, axis=1) - self.radius
        return Voxels(index[np.abs(distance) < 0.5], index[distance < 0.5])


@pytest.fixture
def fake(monkeypatch):
    module = ModuleType("brainextractor")
    module.__spec__ = ModuleSpec("brainextractor", None)
    module.BrainExtractor = FakeBet
    monkeypatch.setitem(sys.modules, "brainextractor", module)
    FakeBet.made = ()
    return module


class TestBet:
    @pytest.mark.parametrize("name", ["anisotropic", "flipped", "everything"])
    def test_it_is_given_cubes_of_2_mm_and_its_brain_comes_back(self, name, fake, capsys):
        volume, mask = head(GRIDS[name])
        found = extract("bet", volume)
        (image,) = FakeBet.made
        np.testing.assert_allclose(image.header.get_zooms(), 2, rtol=1e-5)
        assert image.get_data_dtype() == np.float32
        assert found.shape == mask.shape
        assert dice(found, mask) > 0.93
        assert found.sum() == pytest.approx(mask.sum(), rel=0.06)
        middle = points(volume.grid)[found].mean(0)
        np.testing.assert_allclose(middle, CENTRE, atol=0.3)
        assert capsys.readouterr().out == ""

    def test_its_thousand_lines_become_progress(self, fake):
        seen = []
        extract("bet", head(GRIDS["axis-aligned"])[0], seen.append)
        assert seen == [Progress("brain", step, 1000) for step in range(1, 1001)]

    def test_it_stops_at_its_next_step(self, fake):
        seen, token = [], CancelToken()

        def listen(event):
            seen.append(event)
            if event.step == 5:
                token.cancel()

        says(Cancelled, "bet", head(GRIDS["axis-aligned"])[0], listen, token)
        assert len(seen) == 5
        assert "not done after 0 s" in says(DependencyError, "bet", head(GRIDS["axis-aligned"])[0], limit_s=0)

    def test_when_it_finds_nothing_the_user_is_told(self, fake, monkeypatch):
        def fail(self, iterations):
            raise ValueError("array is too big")

        monkeypatch.setattr(FakeBet, "run", fail)
        assert says(InputError, "bet", head(GRIDS["axis-aligned"])[0]) == (
            "BET found no brain in the image. Use another brain extraction, or give extracted brains."
        )

    def test_a_head_by_the_package_itself_where_it_is_installed(self, request):
        """Without the package the double stands in, so that the test runs everywhere."""
        if find_spec("brainextractor") is None:
            request.getfixturevalue("fake")
        grid = make_grid((1.5, 1.5, 3.0), "LPS", extent=220)
        distance = np.linalg.norm(points(grid), axis=-1)
        brain = distance <= 70
        image = np.select([brain, distance <= 76, distance <= 90], [100.0, 15.0, 40.0], 0.0)
        noise = np.random.default_rng(0).normal(0, 1, grid.shape)
        found = extract("bet", Volume((image + noise).astype(np.float32), grid))
        assert dice(found, brain) > 0.95
        np.testing.assert_allclose(points(grid)[found].mean(0), 0, atol=1)


class TestChoosing:
    def test_each_missing_tool_is_told_with_how_to_get_it(self, tools, monkeypatch):
        monkeypatch.setattr(extractors, "find_spec", lambda name: None)
        volume = head(make_grid(extent=10))[0]
        assert says(DependencyError, "bet", volume) == (
            "The brain extraction 'bet' needs brainextractor. Install it: pip install brainextractor"
        )
        assert "'hd-bet' needs hd-bet. Install version 2" in says(DependencyError, "hd-bet", volume)
        assert "'synthstrip' needs mri_synthstrip. Install FreeSurfer" in says(DependencyError, "synthstrip", volume)

    def test_an_unknown_method_is_told(self):
        assert says(InputError, "robex", head(make_grid(extent=10))[0]) == (
            "There is no brain extraction 'robex'. Use one of bet, hd-bet, synthstrip."
        )
