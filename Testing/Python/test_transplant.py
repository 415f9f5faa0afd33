"""Transplanted lesions: where they were in the donor, as bright as the host's tissue, and nothing else is changed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import error, run
from heads import dice, moved
from numpy.typing import NDArray
from phantoms import centre_of, make_grid, points, volume_ml
from scipy import ndimage
from typer.testing import CliRunner

from TransferSegLib import cli, simulate
from TransferSegLib import transplant as subject
from TransferSegLib.case import Case, load_case
from TransferSegLib.case_files import CHANNELS, CaseFiles
from TransferSegLib.datasets import find_cases, write_case
from TransferSegLib.errors import Cancelled, InputError
from TransferSegLib.events import CancelToken, Event, Progress, Result
from TransferSegLib.grid import Grid
from TransferSegLib.labels import GLIOMA, LESION
from TransferSegLib.preprocess.brain import FoundBrain
from TransferSegLib.preprocess.pipeline import Placed
from TransferSegLib.simulate import simulate_patient
from TransferSegLib.transplant import Matrix, plan_grafts, transplant, transplant_dataset
from TransferSegLib.volume import Volume

# The brain in the world of the template: its middle and its radii.
MIDDLE, RADII = np.array([0.0, -18.0, 8.0]), np.array([58.0, 72.0, 56.0])
# Brightness of tissue, how much it differs from place to place, and what a lesion adds, by channel.
TISSUE = {"t1": (400, 60, -120), "t1c": (420, 60, -100), "t2": (200, 30, 90), "flair": (300, 40, 150)}

# Where images lie: maps from the world of the template, and grids of every kind that hold the brain there.
MAPS = {
    "donor": moved((5, -4, 12), (6, -4, 8), (0.95, 1.02, 0.97)),
    "plain": np.eye(4),
    "elsewhere": moved((-60, 35, -20), (-5, 9, -12), (1.06, 0.94, 1.03)),
}
HOSTS = {
    "plain": ("plain", (3.0, 3.0, 3.0), "RAS", (0, 0, 0)),
    "flipped": ("plain", (3.0, 3.0, 3.0), "LPS", (0, 0, 0)),
    "permuted": ("elsewhere", (2.5, 3.0, 3.0), "PSR", (0, 0, 0)),
    "thick": ("elsewhere", (2.0, 2.0, 5.0), "RAS", (0, 0, 0)),
    "everything": ("elsewhere", (4.0, 2.0, 2.5), "LIP", (15, -10, 20)),
}

Ball = tuple[tuple[float, float, float], float]
LEFT: Ball = ((-28.0, 8.0, 24.0), 11.0)
FAR: Ball = ((24.0, -60.0, -8.0), 9.0)


_made: dict[str, Placed] = {}


def person(*given: Any, **options: Any) -> Placed:
    """What :func:`make_person` makes, once for each set of options: nothing changes it."""
    key = repr((given, sorted(options.items())))
    if key not in _made:
        _made[key] = make_person(*given, **options)
    return _made[key]


def make_person(
    where: str = "plain",
    balls: Sequence[Ball] | Mapping[int, Ball] = (),
    spacing: tuple[float, float, float] = (3.0, 3.0, 3.0),
    codes: str = "RAS",
    turn: tuple[float, float, float] = (0, 0, 0),
    gain: float = 1.0,
    offset: float = 0.0,
    size: float = 1.0,
    dtype: type = np.float32,
    own_grids: Mapping[str, tuple[tuple[float, float, float], str]] | None = None,
) -> Placed:
    """Somebody registered to the template, whose brain and lesions there are known in closed form.

    ``balls`` : centre and radius in the world of the template; as a mapping by label.
    """
    matrix = MAPS[where]
    lesions = list(balls.items()) if isinstance(balls, Mapping) else [(1, ball) for ball in balls]
    centre = tuple(float(part) for part in (matrix @ [*MIDDLE, 1])[:3])

    def grid_of(spacing: tuple[float, float, float], codes: str) -> Grid:
        return make_grid(spacing, codes, turn, extent=186, centre=centre)  # type: ignore[arg-type]

    def brain(at: NDArray[np.float64]) -> NDArray[np.bool_]:
        return np.asarray(np.linalg.norm((at - MIDDLE) / (RADII * size), axis=-1) <= 1)

    def draw(grid: Grid) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.uint8]]:
        """Brain, unevenness of the tissue, and labels."""
        at = in_template(grid, matrix)
        inside, label = brain(at), np.zeros(grid.shape, np.uint8)
        for number, (middle, radius) in lesions:
            label[(np.linalg.norm(at - middle, axis=-1) <= radius) & inside] = number
        waves = np.sin(at[..., 0] / 9) + np.sin(at[..., 1] / 11) + np.sin(at[..., 2] / 10)
        return inside, waves / 2, label

    main = grid_of(spacing, codes)
    drawn, volumes = draw(main), {}
    for channel, (level, range_, contrast) in TISSUE.items():
        own = (own_grids or {}).get(channel)
        grid = grid_of(*own) if own else main
        mask, waves, label = draw(grid) if own else drawn
        values = (level + range_ * waves + contrast * (label > 0)) * gain + offset
        volumes[channel] = Volume(np.where(mask, np.rint(values), 0).astype(dtype), grid)
    grid, (mask, _, label) = volumes["flair"].grid, drawn
    case = Case(where, volumes, "flair", label)
    return Placed(case, volumes, FoundBrain(mask, "known"), matrix, grid)


def in_template(grid: Grid, matrix: Matrix) -> NDArray[np.float64]:
    back = np.linalg.inv(matrix)
    return np.asarray(points(grid) @ back[:3, :3].T + back[:3, 3])


def mirror(ball: Ball) -> Ball:
    (x, y, z), radius = ball
    return (-x, y, z), radius


def expected(host: Placed, *balls: Ball) -> NDArray[np.bool_]:
    """Where lesions of the template's world lie on the grid of a host."""
    assert host.to_image is not None
    at = in_template(host.case.grid, host.to_image)
    return np.asarray(
        np.any([np.linalg.norm(at - middle, axis=-1) <= radius for middle, radius in balls], 0) & host.brain.mask
    )


def seed_that(mirrors: bool) -> int:
    """A seed with which lesions are mirrored, or not."""
    somebody = person(spacing=(20.0, 20.0, 20.0))
    for seed in range(100):
        carried = subject._carry(np.random.default_rng([seed, 0]), somebody, somebody)
        if (np.linalg.det(carried[:3, :3]) < 0) == mirrors:
            return seed
    raise AssertionError("there is none")


@pytest.fixture
def exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lesions are not turned and not moved, but may be mirrored."""
    monkeypatch.setattr(subject, "_TURN_DEGREES", 0.0)
    monkeypatch.setattr(subject, "_SHIFT_MM", 0.0)


def host_like(name: str, **options: Any) -> Placed:
    where, spacing, codes, turn = HOSTS[name]
    return person(where, spacing=spacing, codes=codes, turn=turn, **options)  # type: ignore[arg-type]


class TestMirroring:
    def test_half_of_all_are_mirrored_about_the_middle_of_the_template(self, exactly: None) -> None:
        somebody = person(spacing=(20.0, 20.0, 20.0))
        maps = [subject._carry(np.random.default_rng(seed), somebody, somebody) for seed in range(60)]
        mirrored = [each for each in maps if np.linalg.det(each[:3, :3]) < 0]
        assert 18 <= len(mirrored) <= 42
        for each in maps:
            sign = -1 if np.linalg.det(each[:3, :3]) < 0 else 1
            np.testing.assert_allclose(each, np.diag([sign, 1, 1, 1]), atol=1e-9)

    def test_turns_and_shifts_are_small(self) -> None:
        somebody = person(spacing=(20.0, 20.0, 20.0))
        place = np.array([-30.0, 20.0, 30.0, 1.0])
        away = []
        for seed in range(60):
            carried = subject._carry(np.random.default_rng(seed), somebody, somebody)
            there = (carried @ place)[:3]
            away.append(np.linalg.norm(np.abs(there) - np.abs(place[:3])))
        assert 2 < np.mean(away) < 6
        assert max(away) < 14

    def test_the_way_leads_from_the_donor_over_the_template_to_the_host(self, exactly: None) -> None:
        donor, host = person("donor", spacing=(20.0,) * 3), person("elsewhere", spacing=(20.0,) * 3)
        place = np.array([-30.0, 20.0, 30.0, 1.0])
        for mirrors in (False, True):
            carried = subject._carry(np.random.default_rng([seed_that(mirrors), 0]), donor, host)
            there = np.diag([-1.0 if mirrors else 1.0, 1, 1, 1]) @ place
            np.testing.assert_allclose(carried @ MAPS["donor"] @ place, MAPS["elsewhere"] @ there, atol=1e-9)


@pytest.mark.usefixtures("exactly")
class TestIntoOneself:
    """The donor's own brain, not mirrored: everything is where it was."""

    @pytest.mark.parametrize("dtype", [np.float32, np.int16])
    @pytest.mark.parametrize("name", HOSTS)
    def test_nothing_changes(self, name: str, dtype: type) -> None:
        somebody = host_like(name, balls=[LEFT, FAR], dtype=dtype)
        images, labels = transplant(somebody, somebody, (seed_that(False), 0))
        assert np.array_equal(labels, somebody.case.label)
        for channel in CHANNELS:
            assert images[channel].dtype == dtype
            np.testing.assert_allclose(images[channel], somebody.volumes[channel].data, atol=0.5)

    def test_mirrored_the_lesion_comes_to_the_other_side(self) -> None:
        somebody = person(balls=[LEFT])
        _, labels = transplant(somebody, somebody, (seed_that(True), 0))
        assert dice(labels > 0, expected(somebody, LEFT, mirror(LEFT))) > 0.97


@pytest.mark.usefixtures("exactly")
@pytest.mark.parametrize("mirrors", [False, True])
@pytest.mark.parametrize("name", HOSTS)
class TestWhereItArrives:
    @staticmethod
    def there(mirrors: bool) -> Ball:
        return mirror(LEFT) if mirrors else LEFT

    def test_the_lesion_lies_where_it_was_in_the_donor_and_nothing_else_is_changed(
        self, name: str, mirrors: bool
    ) -> None:
        donor, host = person("donor", [LEFT], (2.0, 3.0, 3.0), "LPS"), host_like(name)
        images, labels = transplant(donor, host, (seed_that(mirrors), 0))
        middle, radius = self.there(mirrors)
        true = expected(host, (middle, radius))
        assert dice(labels > 0, true) > 0.88
        away = centre_of(labels, host.case.grid) - centre_of(true, host.case.grid)
        assert np.linalg.norm(away) < 0.6
        assert volume_ml(labels > 0, host.case.grid) == pytest.approx(volume_ml(true, host.case.grid), rel=0.08)
        core, reach = expected(host, (middle, radius - 4)), expected(host, (middle, radius + 6 + 1 + 5))
        for channel, (_, _, contrast) in TISSUE.items():
            change = images[channel] - host.volumes[channel].data
            assert change[core].mean() == pytest.approx(contrast, rel=0.25), channel
            assert not change[~reach].any()
        assert not labels[~reach].any()


@pytest.mark.usefixtures("exactly")
class TestWhatItLooksLike:
    SEED = staticmethod(lambda: (seed_that(False), 0))

    def test_a_scanner_of_another_scale_gives_the_same_graft(self) -> None:
        host = person("elsewhere", [FAR])
        plain, strange = (
            transplant(person("donor", [LEFT], gain=gain, offset=offset), host, self.SEED())
            for gain, offset in ((1, 0), (3, 100))
        )
        assert np.array_equal(plain[1], strange[1])
        for channel in CHANNELS:
            inside = plain[1] > 0
            np.testing.assert_allclose(plain[0][channel][inside], strange[0][channel][inside], rtol=0.01)

    def test_its_healthy_tissue_is_as_bright_as_the_hosts(self) -> None:
        """A donor of ten times the brightness: the margin of healthy tissue that comes along does not show."""
        donor, host = person(balls=[LEFT], gain=10, offset=-500), person()
        images, labels = transplant(donor, host, self.SEED())
        around = ndimage.binary_dilation(labels > 0, iterations=3) & ~ndimage.binary_dilation(labels > 0)
        for channel, (_, range_, _) in TISSUE.items():
            change = np.abs(images[channel] - host.volumes[channel].data)[around]
            assert change.mean() < 0.15 * range_

    def test_lesions_do_not_count_when_brightness_is_matched(self) -> None:
        """A donor full of lesions is not darker or brighter for that."""
        many = [((x, y, 10.0), 17.0) for x in (-28.0, 28.0) for y in (-50.0, 12.0)]
        donor, host = person(balls=[*many, LEFT]), person()
        gain, offset = subject._match(subject._tissue(donor, "flair"), subject._tissue(host, "flair"))
        assert gain == pytest.approx(1, abs=0.1)
        assert offset == pytest.approx(0, abs=25)

    def test_images_keep_the_type_of_the_host_and_its_range(self) -> None:
        donor, host = person(balls=[LEFT], gain=3, dtype=np.float32), person(gain=0.5, dtype=np.uint8)
        images, labels = transplant(donor, host, self.SEED())
        for channel in CHANNELS:
            assert images[channel].dtype == np.uint8
            assert (images[channel][host.brain.mask] > 20).all(), "nothing turned over from 0 to 255 or back"
        change = images["flair"].astype(float) - host.volumes["flair"].data
        assert change[ndimage.binary_erosion(labels > 0, iterations=2)].mean() > 30

    def test_only_the_channels_asked_for_are_made(self) -> None:
        images, _ = transplant(person(balls=[LEFT]), person(), self.SEED(), ("flair", "t1"))
        assert tuple(images) == ("flair", "t1")

    @pytest.mark.parametrize("name", ["flipped", "everything"])
    def test_each_channel_may_have_a_grid_of_its_own(self, name: str) -> None:
        grids = {"t1": ((2.0, 4.0, 3.0), "LPS"), "t2": ((3.0, 3.0, 6.0), "PSR")}
        donor, host = person("donor", [LEFT], own_grids=grids), host_like(name, own_grids=grids)
        images, labels = transplant(donor, host, self.SEED())
        assert {image.shape for image in images.values()} == {host.case.grid.shape} == {labels.shape}
        core = expected(host, (LEFT[0], LEFT[1] - 4))
        for channel, (_, _, contrast) in TISSUE.items():
            assert (images[channel] - host.case.channels[channel])[core].mean() == pytest.approx(contrast, rel=0.25)


@pytest.mark.usefixtures("exactly")
class TestTheHost:
    SEED = staticmethod(lambda: (seed_that(False), 0))

    def test_its_lesions_stay_with_their_labels_outside_of_the_graft(self) -> None:
        host = person("elsewhere", [FAR])
        images, labels = transplant(person("donor", [LEFT]), host, self.SEED())
        far = expected(host, (FAR[0], FAR[1] + 4))
        assert host.case.label is not None
        assert np.array_equal(labels[far], host.case.label[far])
        assert labels[far].any()
        assert np.array_equal(images["flair"][far], host.volumes["flair"].data[far])
        assert dice(labels > 0, expected(host, LEFT, FAR)) > 0.93

    def test_a_lesion_of_its_own_at_the_same_place_is_replaced(self) -> None:
        """Where the donor's tissue is, the donor's labels are, healthy ones too."""
        large = (LEFT[0], LEFT[1] + 6)
        host = person(balls={2: large})
        _, labels = transplant(person(balls={1: LEFT}), host, self.SEED())
        core = expected(host, (LEFT[0], LEFT[1] - 2))
        assert (labels[core] == 1).all()
        ring = expected(host, (LEFT[0], LEFT[1] + 1.4)) & ~expected(host, LEFT)
        assert (labels[ring] == 0).all(), "the margin is the donor's"
        outer = expected(host, large) & ~expected(host, (LEFT[0], LEFT[1] + 9))
        assert (labels[outer] == 2).all()

    def test_nothing_is_written_outside_of_its_brain(self) -> None:
        """A lesion at the donor's surface, and a host of a smaller brain."""
        edge = ((-48.0, -18.0, 8.0), 14.0)
        for name in ("plain", "everything"):
            host = host_like(name, size=0.8)
            images, labels = transplant(person("donor", [edge]), host, self.SEED())
            outside = ~host.brain.mask
            assert labels.any()
            assert not labels[outside].any()
            for channel in CHANNELS:
                assert not images[channel][outside].any()

    @pytest.mark.parametrize("name", ["plain", "everything"])
    def test_nothing_from_outside_of_the_donors_brain_comes_along(self, name: str) -> None:
        """A lesion at the surface of a small brain comes without a fringe of the black around it."""
        edge = ((-38.0, -18.0, 8.0), 12.0)
        donor, host = person("donor" if name == "everything" else "plain", [edge], size=0.75), host_like(name)
        images, labels = transplant(donor, host, self.SEED())
        assert labels.any()
        for channel in ("t2", "flair"):  # where lesions are brighter than what is around them
            change = images[channel] - host.volumes[channel].data
            assert change[host.brain.mask].min() > -0.6 * TISSUE[channel][1], channel

    def test_neither_donor_nor_host_is_changed(self) -> None:
        donor, host = person(balls=[LEFT]), person(balls=[FAR])
        kept = [(each.volumes["t2"].data.copy(), np.copy(each.case.label)) for each in (donor, host)]
        transplant(donor, host, self.SEED())
        for each, (image, label) in zip((donor, host), kept, strict=True):
            assert np.array_equal(each.volumes["t2"].data, image)
            assert np.array_equal(each.case.label, label)


class TestWhichLesions:
    MANY = tuple(((x, y, 12.0), 5.0) for x in (-30.0, 0.0, 30.0) for y in (-60.0, -20.0, 20.0))

    def test_every_class_comes_along_with_its_own_label(self, exactly: None) -> None:
        """A core within another class, as of a tumour."""
        donor = person(balls={2: (LEFT[0], 16.0), 3: (LEFT[0], 11.0), 1: (LEFT[0], 6.0)})
        host = host_like("thick")
        _, labels = transplant(donor, host, (seed_that(False), 0))
        for label, radius, inner in ((1, 6.0, 0.0), (3, 11.0, 6.0), (2, 16.0, 11.0)):
            true = expected(host, (LEFT[0], radius)) & ~expected(host, (LEFT[0], inner or 0.01))
            assert dice(labels == label, true) > 0.7, label
        assert set(np.unique(labels)) == {0, 1, 2, 3}

    def test_some_come_and_at_least_one(self, exactly: None) -> None:
        donor, host = person(balls=self.MANY), person()
        counts = []
        for seed in range(12):
            _, labels = transplant(donor, host, (seed, 0))
            counts.append(ndimage.label(labels)[1])
        assert min(counts) >= 1
        assert max(counts) <= len(self.MANY)
        assert len(set(counts)) > 2

    def test_a_single_one_always_comes(self) -> None:
        donor, host = person(balls=[LEFT], spacing=(4.0, 4.0, 4.0)), person(spacing=(4.0, 4.0, 4.0))
        for seed in range(10):
            assert transplant(donor, host, (seed, 0))[1].any()

    def test_a_donor_without_lesions_changes_nothing(self) -> None:
        donor, host = person(), person("elsewhere", [FAR])
        images, labels = transplant(donor, host, (0, 0))
        assert np.array_equal(labels, host.case.label)
        assert np.array_equal(images["t1"], host.volumes["t1"].data)

    def test_the_same_seed_gives_the_same_graft_and_another_one_another(self) -> None:
        donor, host = person(balls=self.MANY), person()
        first, again, other = (transplant(donor, host, seed) for seed in ((4, 0), (4, 0), (4, 1)))
        assert np.array_equal(first[1], again[1])
        assert not np.array_equal(first[1], other[1])
        for channel in CHANNELS:
            assert np.array_equal(first[0][channel], again[0][channel])


def files(name: str) -> CaseFiles:
    return CaseFiles(name, {"t1": Path(f"/{name}.nii.gz")}, Path(f"/{name}_seg.nii.gz"))


class TestPlan:
    EVERYONE = tuple(files(name) for name in "abcde")

    def test_each_donor_gives_equally_often_and_nobody_to_themselves(self) -> None:
        grafts = plan_grafts(self.EVERYONE, self.EVERYONE, 200, seed=1)
        donors = [graft.donor.name for graft in grafts]
        assert {name: donors.count(name) for name in "abcde"} == dict.fromkeys("abcde", 40)
        assert all(graft.donor.name != graft.host.name for graft in grafts)

    def test_each_host_takes_about_equally_often(self) -> None:
        hosts = [graft.host.name for graft in plan_grafts(self.EVERYONE, self.EVERYONE, 200, seed=1)]
        assert all(25 <= hosts.count(name) <= 55 for name in "abcde")

    def test_the_same_person_read_twice_is_the_same_person(self) -> None:
        again = tuple(files(name) for name in "ab")
        assert all(graft.donor.name != graft.host.name for graft in plan_grafts(again, again[::-1], 20, seed=0))

    def test_who_is_alone_hosts_themselves(self) -> None:
        (graft,) = plan_grafts(self.EVERYONE[:1], self.EVERYONE[:1], 1, seed=0)
        assert graft.donor.name == graft.host.name == "a"

    def test_names_and_seeds_are_unique_and_the_plan_follows_from_the_seed(self) -> None:
        grafts = plan_grafts(self.EVERYONE, self.EVERYONE, 12, seed=3)
        assert [graft.name for graft in grafts] == [f"transplant-3-{number:04d}" for number in range(12)]
        assert len({graft.seed for graft in grafts}) == 12
        assert grafts == plan_grafts(self.EVERYONE, self.EVERYONE, 12, seed=3)
        assert [graft.host for graft in grafts] != [
            graft.host for graft in plan_grafts(self.EVERYONE, self.EVERYONE, 12, seed=4)
        ]
        assert grafts[:5] == plan_grafts(self.EVERYONE, self.EVERYONE, 5, seed=3)


def write(folder: Path, who: Placed, labelled: bool = True) -> Path:
    """A case on disk; without its label map if it is not ``labelled``."""
    assert who.case.label is not None
    images = {channel: volume.data for channel, volume in who.volumes.items()}
    write_case(folder, who.case.grid, images, LESION.decode(who.case.label))
    if not labelled:
        (folder / f"{folder.name}_seg.nii.gz").unlink()
    return folder


PEOPLE = {
    "anna": ("donor", [LEFT]),
    "berta": ("plain", [FAR]),
    "carla": ("elsewhere", [LEFT, FAR]),
}


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("people")
    for name, (where, balls) in PEOPLE.items():
        write(root / name, person(where, balls, (4.0, 4.0, 4.0), dtype=np.int16))
    return root


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Who was registered to the template; the maps are known, nothing is computed."""
    seen: list[str] = []

    def known(case: CaseFiles, *_: object, **__: object) -> Matrix:
        seen.append(case.name)
        return MAPS[PEOPLE[case.name][0]]

    monkeypatch.setattr(subject, "_to_template", known)
    return seen


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if ".part." in path.name or ".old." in path.name]


@pytest.mark.usefixtures("seen")
class TestADataset:
    def test_it_is_one_that_can_be_read_and_says_who_is_in_which(self, people: Path, tmp_path: Path) -> None:
        out = transplant_dataset(people, tmp_path / "out", 6, seed=2, jobs=1)
        assert out == tmp_path / "out"
        found = find_cases(out)
        assert [case.name for case in found] == [f"transplant-2-{number:04d}" for number in range(6)]
        lines = [line.split(",") for line in (out / "transplants.csv").read_text("utf-8").splitlines()]
        assert lines[0] == ["case", "donor", "host"]
        assert [line[0] for line in lines[1:]] == [case.name for case in found]
        assert [line[1] for line in lines[1:]] == ["anna", "berta", "carla"] * 2
        for _, donor, host in lines[1:]:
            assert host in PEOPLE
            assert host != donor
        for case, (_, _, host) in zip(found, lines[1:], strict=True):
            case.require(CHANNELS)
            made = load_case(case, scheme=LESION)
            theirs = load_case(find_cases(people).select([host]).cases[0], scheme=LESION)
            assert made.grid.matches(theirs.grid)
            assert made.volumes["t2"].data.dtype == np.int16
            brain = theirs.channels["t1"] > 0
            assert np.array_equal(made.channels["t1"] > 0, brain)
            assert made.label is not None
            assert made.label.any()
            assert not made.label[~brain].any()
            assert not np.array_equal(made.channels["flair"], theirs.channels["flair"])

    def test_each_case_is_what_transplant_makes_of_donor_and_host(
        self, people: Path, tmp_path: Path, exactly: None
    ) -> None:
        out = transplant_dataset(people, tmp_path / "out", 3, seed=2, jobs=1)
        for graft in plan_grafts(find_cases(people).cases, find_cases(people).cases, 3, 2):
            donor, host = (
                person(where, balls, (4.0, 4.0, 4.0), dtype=np.int16)
                for where, balls in (PEOPLE[graft.donor.name], PEOPLE[graft.host.name])
            )
            images, labels = transplant(donor, host, graft.seed)
            made = load_case(find_cases(out).select([graft.name]).cases[0], scheme=LESION)
            assert np.array_equal(made.label, labels)
            for channel in CHANNELS:
                assert np.array_equal(made.channels[channel], images[channel])

    def test_hosts_of_another_dataset_receive(self, people: Path, tmp_path: Path) -> None:
        hosts = tmp_path / "hosts"
        write(hosts / "berta", person("plain", [FAR], (4.0, 4.0, 4.0)))
        transplant_dataset(people, tmp_path / "out", 3, hosts, jobs=1)
        rows = (tmp_path / "out" / "transplants.csv").read_text("utf-8").splitlines()[1:]
        assert [row.split(",")[1:] for row in rows] == [[name, "berta"] for name in PEOPLE]

    def test_the_grade_of_the_donor_and_the_codes_of_brats_are_kept(self, tmp_path: Path) -> None:
        for grade, name in (("HGG", "anna"), ("LGG", "berta")):
            where = PEOPLE[name][0]
            who = person(where, {2: (LEFT[0], 16.0), 3: LEFT, 1: (LEFT[0], 6.0)}, (4.0, 4.0, 4.0))
            assert who.case.label is not None
            images = {channel: volume.data for channel, volume in who.volumes.items()}
            write_case(tmp_path / "in" / grade / name, who.case.grid, images, GLIOMA.decode(who.case.label))
        out = transplant_dataset(tmp_path / "in", tmp_path / "out", 2, jobs=1)
        found = find_cases(out)
        assert (found.layout, found.scheme) == ("brats", GLIOMA)
        assert [case.group for case in found] == ["HGG", "LGG"]
        for case in found:
            label = load_case(case, scheme=GLIOMA).label
            assert label is not None
            assert set(np.unique(label)) == {0, 1, 2, 3}

    def test_the_same_seed_makes_the_same_bits_and_another_one_others(self, people: Path, tmp_path: Path) -> None:
        first, again, other = (
            transplant_dataset(people, tmp_path / str(number), 2, seed=seed, jobs=1)
            for number, seed in enumerate((5, 5, 6))
        )
        assert contents(first) == contents(again)
        assert set(contents(first).values()).isdisjoint(contents(other).values())

    def test_everybody_is_registered_once(self, people: Path, tmp_path: Path, seen: list[str]) -> None:
        events: list[Event] = []
        transplant_dataset(people, tmp_path / "out", 6, jobs=1, on_event=events.append)
        assert sorted(seen) == ["anna", "berta", "carla"]
        stages = [(event.stage, event.step, event.of) for event in events if isinstance(event, Progress)]
        assert stages == [
            *(("register", step, 3) for step in range(4)),
            *(("transplant", step, 6) for step in range(7)),
        ]
        assert [event.values for event in events if isinstance(event, Result)] == [
            {"written": 6, "folder": tmp_path / "out"}
        ]

    def test_cancelled_it_keeps_whole_cases(self, people: Path, tmp_path: Path) -> None:
        cancel = CancelToken()

        def stop(event: Event) -> None:
            if isinstance(event, Progress) and (event.stage, event.step) == ("transplant", 2):
                cancel.cancel()

        with pytest.raises(Cancelled):
            transplant_dataset(people, tmp_path / "out", 6, jobs=1, on_event=stop, cancel=cancel)
        assert len(find_cases(tmp_path / "out")) == 2
        assert leftovers(tmp_path / "out") == []

    def test_cancelled_before_it_starts_it_makes_nothing(self, people: Path, tmp_path: Path) -> None:
        cancel = CancelToken()
        cancel.cancel()
        with pytest.raises(Cancelled):
            transplant_dataset(people, tmp_path / "out", 6, jobs=1, cancel=cancel)
        assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("seen")
class TestRefusals:
    def test_a_case_without_labels_is_refused_as_donor_and_as_host(self, people: Path, tmp_path: Path) -> None:
        bare = write(tmp_path / "data" / "berta", person("plain", [FAR], (4.0, 4.0, 4.0)), labelled=False).parent
        for donors, hosts in ((bare, people), (people, bare)):
            with pytest.raises(InputError) as caught:
                transplant_dataset(donors, tmp_path / "out", 1, hosts, jobs=1)
            assert str(caught.value) == "Case 'berta' has no reference label map. Add it, or leave the case out."
        assert not (tmp_path / "out").exists()

    def test_a_folder_that_is_not_empty_is_refused(self, people: Path, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for out in (tmp_path, tmp_path / "file"):
            with pytest.raises(InputError) as caught:
                transplant_dataset(people, out, 1, jobs=1)
            assert str(caught.value) == f"{out} is not an empty folder. Choose another --out, or delete it."
        assert contents(tmp_path) == {"file": b""}

    def test_an_empty_folder_is_not(self, people: Path, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        transplant_dataset(people, tmp_path / "out", 1, jobs=1)
        assert len(find_cases(tmp_path / "out")) == 1

    def test_no_cases(self, people: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError) as caught:
            transplant_dataset(people, tmp_path / "out", 0)
        assert str(caught.value) == "--cases cannot be 0. Give at least 1."

    def test_a_missing_channel_is_named(self, people: Path, tmp_path: Path) -> None:
        folder = write(tmp_path / "data" / "berta", person("plain", [FAR], (4.0, 4.0, 4.0)))
        (folder / "berta_t2.nii.gz").unlink()
        with pytest.raises(InputError, match="Case 'berta' has no channel t2"):
            transplant_dataset(people, tmp_path / "out", 1, folder.parent, jobs=1)
        transplant_dataset(people, tmp_path / "out", 1, folder.parent, channels=("t1", "flair"), jobs=1)
        assert sorted(next(iter(find_cases(tmp_path / "out"))).channels) == ["flair", "t1"]


def test_it_is_registered_to_wherever_the_host_lies(tmp_path: Path, exactly: None) -> None:
    """The same patient lying elsewhere, on a flipped grid: each lesion arrives where it is in that image."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulate, "_COARSEST_MM", 2.0)
        one = simulate_patient("ms", (7, 0), 2.0)
    write_case(tmp_path / "donors" / "anna", one.grid, one.channels, LESION.decode(one.labels))
    way = moved((-25, 30, 15), (7, -5, 10))
    flipped = one.grid.reoriented("LPS").moved(way)
    images = {channel: image[::-1, ::-1] for channel, image in one.channels.items()}
    codes = np.zeros(one.labels.shape, np.uint8)
    brain = np.argwhere(ndimage.binary_erosion(images["t1"] > 0, iterations=6))
    codes[tuple(brain[0])] = 1  # somebody must be marked somewhere
    write_case(tmp_path / "hosts" / "berta", flipped, images, codes)
    seed = seed_that(False)
    transplant_dataset(tmp_path / "donors", tmp_path / "out", 1, tmp_path / "hosts", seed=seed, jobs=1)
    (case,) = find_cases(tmp_path / "out")
    made = load_case(case, scheme=LESION)
    assert made.label is not None
    assert made.grid.matches(flipped)
    new = (made.label > 0) & (codes == 0)
    true = one.labels[::-1, ::-1] > 0
    parts, count = ndimage.label(true, np.ones((3, 3, 3)))
    taken = np.isin(parts, [number for number in range(1, count + 1) if new[parts == number].mean() > 0.2])
    assert taken.sum() > 100
    assert dice(new, taken) > 0.85
    for axis in range(3):
        for steps in (-1, 1):
            assert dice(np.roll(new, steps, axis), taken) < dice(new, taken) - 0.03


def words(*command: str) -> str:
    """The help of a command without the frames and line breaks of its tables."""
    result = CliRunner().invoke(cli.app, [*command, "--help"], prog_name="transferseg", env={"COLUMNS": "100"})
    assert result.exit_code == 0
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", result.output).split())


class TestTheCommand:
    def test_its_help_explains_every_option_and_has_an_example(self) -> None:
        text = words("transplant")
        assert "Put annotated lesions of one patient into the brain of another" in text
        for option in ("--out", "--into", "--cases", "--labels", "--channels", "--seed", "--jobs", "--cancel-file"):
            assert option in text
        assert "Example: transferseg transplant ms_cases --into simulated --cases 40 --out transplanted" in text
        assert "transplant" in words()

    def test_its_example_is_one_that_it_takes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        called: list[tuple[object, ...]] = []
        monkeypatch.setattr(subject, "transplant_dataset", lambda *given: called.append(given))
        assert run(*words("transplant").split("Example: transferseg ")[1].split()).code == 0
        assert called[0][:8] == ("ms_cases", Path("transplanted"), 40, "simulated", None, CHANNELS, 0, 0)

    def test_every_option_arrives(self, monkeypatch: pytest.MonkeyPatch) -> None:
        called: list[tuple[object, ...]] = []
        monkeypatch.setattr(subject, "transplant_dataset", lambda *given: called.append(given))
        options = ("--cases", 3, "--labels", "lesion", "--channels", "t1,flair", "--seed", 8, "--jobs", 2)
        assert run("transplant", "data", "--out", "there", *options).code == 0
        donors, out, cases, hosts, labels, channels, seed, jobs = called[0][:8]
        assert (donors, out, cases, hosts, labels, seed, jobs) == ("data", Path("there"), 3, None, "lesion", 8, 2)
        assert tuple(channels) == ("t1", "flair")  # type: ignore[arg-type]

    def test_it_writes_cases_and_says_where(self, people: Path, tmp_path: Path, seen: list[str]) -> None:
        out = tmp_path / "out"
        done = run("transplant", people, "--out", out, "--cases", 2, "--jobs", 1, "--into", people)
        assert done.code == 0
        assert dict(line.split(None, 1) for line in done.out.splitlines()) == {"written": "2", "folder": str(out)}
        assert len(find_cases(out)) == 2
        again = run("transplant", people, "--out", out, "--cases", 2, "--jobs", 1)
        assert again.code == 2
        assert again.told == error(f"{out} is not an empty folder.", "Choose another --out, or delete it.")

    def test_events_are_told(self, people: Path, tmp_path: Path, seen: list[str]) -> None:
        done = run("transplant", people, "--out", tmp_path / "out", "--cases", 1, "--jobs", 1, "--events")
        assert done.code == 0
        assert {event["stage"] for event in done.of("progress")} == {"register", "transplant"}
        assert done.events[-1] == {
            "event": "result",
            "values": {"written": 1, "folder": str(tmp_path / "out")},
        }

    @pytest.mark.parametrize(
        ("options", "cause", "remedy"),
        [
            (("--cases", 0), "--cases cannot be 0.", "Give at least 1."),
            (("--labels", "flu"), "There is no label scheme 'flu'.", None),
            (("--into", "/nowhere"), "/nowhere does not exist.", "Check the path."),
        ],
    )
    def test_what_it_refuses_it_refuses_before_anything_is_made(
        self, people: Path, tmp_path: Path, options: tuple[object, ...], cause: str, remedy: str | None
    ) -> None:
        done = run("transplant", people, "--out", tmp_path / "out", *options)
        assert done.code == 2
        assert done.told[0] == f"Error: {cause}"
        if remedy is not None:
            assert done.told == error(cause, remedy)
        assert not (tmp_path / "out").exists()

    def test_a_negative_seed_is_refused_in_words(self, people: Path, tmp_path: Path, seen: list[str]) -> None:
        done = run("transplant", people, "--out", tmp_path / "out", "--cases", 1, "--jobs", 1, "--seed", -1)
        assert done.code == 2
        assert done.told[0].startswith("Error: ")

    def test_cases_without_labels_are_refused(self, tmp_path: Path) -> None:
        write(tmp_path / "data" / "berta", person("plain", [FAR], (4.0, 4.0, 4.0)), labelled=False)
        done = run("transplant", tmp_path / "data", "--out", tmp_path / "out")
        assert done.code == 2
        assert done.told == error("Case 'berta' has no reference label map.", "Add it, or leave the case out.")

    def test_a_cancel_file_that_is_there_from_the_start_stops_before_anything_is_made(
        self, people: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "stop").touch()
        done = run("transplant", people, "--out", tmp_path / "out", "--cancel-file", tmp_path / "stop", "--jobs", 1)
        assert done.code == 3
        assert done.told[-1] == "Error: Stopped on request."
        assert not (tmp_path / "out").exists()
