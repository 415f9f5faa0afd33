"""Alignment of a case's channels: which are registered, where they lie, and when the headers are trusted instead."""

import numpy as np
import pytest
from heads import FIXED, error_mm, head, moved
from phantoms import make_grid

from TransferSegLib.errors import InputError
from TransferSegLib.events import Warning
from TransferSegLib.preprocess import align
from TransferSegLib.preprocess.align import Align
from TransferSegLib.preprocess.registration import Registration
from TransferSegLib.preprocess.step import record, restore
from TransferSegLib.volume import Volume

OWN_GRID = make_grid((2.5, 2.5, 4.0), turn=(3, 0, 5), extent=170)
MOVED = moved((3, -2, 4), (2, 0, -3))


def aligned(method="auto", **volumes):
    seen = []
    return Align(method).apply(volumes, "t1", "p1", seen.append), seen


@pytest.fixture(scope="module")
def t1():
    return head(FIXED)


def found(matrix, overlap=1.0):
    return lambda *args, **kwargs: Registration(matrix, 1.0, 0.5, overlap, np.zeros(3))


def test_a_channel_on_a_grid_of_its_own_is_laid_over_the_reference(t1):
    maps, seen = aligned(t1=t1, t2=head(OWN_GRID, MOVED, turned=True))
    assert error_mm(maps["t2"], MOVED)[0] < 0.5
    np.testing.assert_array_equal(maps["t1"], np.eye(4))
    assert seen == []


def test_each_channel_gets_a_map_of_its_own(t1, monkeypatch):
    matrices = iter([moved((1, 0, 0)), moved((2, 0, 0))])
    monkeypatch.setattr(align, "register", lambda *args: found(next(matrices))())
    other = Volume(np.ones(OWN_GRID.shape), OWN_GRID)
    maps, _ = aligned(t1=t1, t2=other, flair=other)
    assert list(maps) == ["t1", "t2", "flair"]
    assert (maps["t2"][0, 3], maps["flair"][0, 3]) == (1, 2)


def test_auto_trusts_channels_on_the_grid_of_the_reference_and_rigid_does_not(t1, monkeypatch):
    monkeypatch.setattr(align, "register", found(MOVED))
    twin = head(FIXED, MOVED)
    np.testing.assert_array_equal(aligned(t1=t1, t2=twin)[0]["t2"], np.eye(4))
    np.testing.assert_array_equal(aligned("rigid", t1=t1, t2=twin)[0]["t2"], MOVED)
    other = Volume(np.ones(OWN_GRID.shape), OWN_GRID)
    np.testing.assert_array_equal(aligned("none", t1=t1, t2=other)[0]["t2"], np.eye(4))


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (found(moved((0, 25, 0))), "registration moved it by 25 mm, more than 20 mm"),
        (found(moved(turn=(0, 20, 0))), "registration turned it by 20 degrees, more than 15"),
        (found(MOVED, overlap=0.2), "it covers only 20% of the reference image"),
    ],
)
def test_a_map_that_cannot_be_right_is_told_and_the_headers_are_trusted(t1, monkeypatch, result, says):
    monkeypatch.setattr(align, "register", result)
    maps, seen = aligned("rigid", t1=t1, flair=t1)
    np.testing.assert_array_equal(maps["flair"], np.eye(4))
    text = f"Channel 'flair' was not aligned: {says}."
    assert seen == [Warning(f"{text} Its header is trusted instead.", "p1")]


def test_a_map_that_is_nearly_too_far_is_kept(t1, monkeypatch):
    far = moved((0, 19, 0), (0, 0, 14))
    monkeypatch.setattr(align, "register", found(far))
    maps, seen = aligned("rigid", t1=t1, flair=t1)
    np.testing.assert_array_equal(maps["flair"], far)
    assert seen == []


def test_a_channel_that_cannot_be_compared_is_told(t1):
    maps, seen = aligned(t1=t1, t2=Volume(np.full(OWN_GRID.shape, 3.0), OWN_GRID))
    np.testing.assert_array_equal(maps["t2"], np.eye(4))
    assert "Channel 't2' was not aligned: An image has only one value" in seen[0].text


def test_the_step_stands_in_a_card_and_refuses_what_it_does_not_know():
    assert restore({"align": Align}, record(Align("rigid"))) == Align("rigid")
    with pytest.raises(InputError, match="no way 'affine'"):
        Align("affine")
