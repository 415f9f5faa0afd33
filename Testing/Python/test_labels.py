"""LabelScheme: the values of files become internal labels and back; regions are unions of classes."""

import json
from dataclasses import replace

import numpy as np
import pytest

from TransferSegLib.errors import InputError
from TransferSegLib.labels import GLIOMA, LESION, PALETTE, SCHEMES, LabelClass, LabelScheme


def says(call, *args, **kwargs):
    with pytest.raises(InputError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


class TestGlioma:
    def test_regions_are_those_of_brats(self):
        assert GLIOMA.names == ("background", "necrotic", "edema", "enhancing")
        assert list(GLIOMA.regions) == ["whole", "core", "enhancing"]
        assert GLIOMA.region_labels("whole") == (1, 2, 3)
        assert GLIOMA.region_labels("core") == (1, 3)
        assert GLIOMA.region_labels("enhancing") == (3,)

    @pytest.mark.parametrize("enhancing", [4, 3])
    def test_enhancing_tumour_is_4_until_brats_2022_and_3_since_brats_2023(self, enhancing):
        values = np.array([[0, 1], [2, enhancing]])
        labels = GLIOMA.encode(values)
        assert labels.dtype == np.uint8
        np.testing.assert_array_equal(labels, [[0, 1], [2, 3]])
        np.testing.assert_array_equal(GLIOMA.decode(labels), [[0, 1], [2, 4]])

    def test_encode_undoes_decode(self):
        labels = np.random.default_rng(0).integers(0, 4, (5, 6, 7)).astype(np.uint8)
        values = GLIOMA.decode(labels)
        assert values.dtype == np.uint8
        np.testing.assert_array_equal(GLIOMA.encode(values), labels)

    def test_both_3_and_4_in_one_file_is_refused(self):
        assert says(GLIOMA.encode, np.array([0, 1, 3, 4]), "/data/seg.nii.gz") == (
            "/data/seg.nii.gz has both 4 and 3, which are different codes of 'enhancing'."
            " The file follows another convention: relabel it."
        )

    def test_an_unknown_value_is_refused_with_all_that_are_known(self):
        assert says(GLIOMA.encode, np.array([0, 1, 5]), "/data/seg.nii.gz") == (
            "/data/seg.nii.gz has the unknown label 5. Expected by the scheme 'glioma':"
            " 0 = background, 1 = necrotic, 2 = edema, 4/3 = enhancing. Relabel the file or choose another --labels,"
            " for instance a dataset.json that names every value."
        )


class TestEncode:
    @pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.int64, np.float32, np.float64])
    def test_takes_every_numeric_type(self, dtype):
        labels = LESION.encode(np.array([0, 1, 1]).astype(dtype))
        assert labels.dtype == np.uint8
        np.testing.assert_array_equal(labels, [0, 1, 1])

    def test_of_an_empty_mask_is_background(self):
        assert not GLIOMA.encode(np.zeros((3, 3, 3))).any()

    @pytest.mark.parametrize(
        ("values", "named"),
        [
            ([0, 0.5], "0.5"),
            ([-1, 0], "-1"),
            ([0, 1234567], "1234567"),
            ([0, 300, 301], "300, 301"),
            (range(2, 20), "2, 3, 4, 5, 6 and 13 more"),
            ([0, np.nan], "nan"),
        ],
    )
    def test_names_the_unknown_values(self, values, named):
        assert says(LESION.encode, np.array(values)).startswith(
            f"The label map has the unknown label {named}. Expected"
        )

    def test_does_not_change_its_input(self):
        values = np.array([0, 4], np.uint8)
        GLIOMA.encode(values)
        np.testing.assert_array_equal(values, [0, 4])


def test_region_masks_are_unions_of_classes():
    labels = np.array([[0, 1], [2, 3]])
    masks = GLIOMA.region_masks(labels)
    assert list(masks) == ["whole", "core", "enhancing"]
    np.testing.assert_array_equal(masks["whole"], [[False, True], [True, True]])
    np.testing.assert_array_equal(masks["core"], [[False, True], [False, True]])
    np.testing.assert_array_equal(masks["enhancing"], [[False, False], [False, True]])
    assert all(mask.dtype == bool for mask in masks.values())


def test_looks_are_no_part_of_the_meaning_but_names_codes_and_regions_are():
    *others, last = GLIOMA.classes
    same = replace(GLIOMA, name="mine", classes=(*others, replace(last, color=(1, 2, 3), snomed=None)))
    assert same.meaning() == GLIOMA.meaning()
    for change in (
        {"classes": (*others, replace(last, codes=(3,)))},
        {"classes": (others[0], others[2], others[1], last)},
        {"regions": {"whole": ("necrotic", "edema")}},
    ):
        assert replace(GLIOMA, **change).meaning() != GLIOMA.meaning()


def test_schemes_are_found_by_name():
    assert SCHEMES == {"glioma": GLIOMA, "lesion": LESION}
    assert (len(GLIOMA), GLIOMA.binary) == (4, False)
    assert (len(LESION), LESION.binary) == (2, True)


class TestDict:
    @pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
    def test_leads_back_to_an_equal_scheme_through_json(self, scheme):
        again = LabelScheme.from_dict(json.loads(json.dumps(scheme.to_dict())))
        assert again == scheme
        assert list(again.regions) == list(scheme.regions)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda data: data.pop("name"), "KeyError('name')"),
            (lambda data: data.pop("regions"), "KeyError('regions')"),
            (lambda data: data["classes"][1].pop("codes"), "KeyError('codes')"),
            (lambda data: data["classes"][1].update(codes=None), "TypeError(\"'NoneType' object is not iterable\")"),
            (lambda data: data["classes"][1].update(codes=["x"]), "ValueError("),
            (lambda data: data["classes"][1].update(color=[1, 2]), "ValueError("),
            (lambda data: data["classes"][1].update(color=[1, 2, 256]), "ValueError('color [1, 2, 256] is not RGB"),
            (lambda data: data["classes"][1].update(snomed="x"), "ValueError("),
            (lambda data: data.update(regions=["a"]), "AttributeError("),
            (lambda data: data.update(classes=3), "TypeError("),
        ],
    )
    def test_that_is_not_valid_is_refused(self, change, said):
        data = GLIOMA.to_dict()
        change(data)
        message = says(LabelScheme.from_dict, data)
        assert message.startswith(f"The label scheme is not valid: {said}")
        assert message.endswith(". It needs 'name', 'classes' (each with 'name', 'codes', 'color') and 'regions'.")


BACK = LabelClass("background", (0,), (0, 0, 0))
ONE = LabelClass("one", (1,), (1, 1, 1))


class TestValidation:
    @pytest.mark.parametrize(
        ("classes", "regions", "message"),
        [
            ((BACK,), {}, "Label scheme 's' has 1 classes. Give at least two."),
            (
                (BACK, LabelClass("", (1,), (0, 0, 0))),
                {},
                "Label scheme 's' has something without a name. Name each class and region.",
            ),
            (
                (BACK, ONE),
                {"": ("one",)},
                "Label scheme 's' has something without a name. Name each class and region.",
            ),
            (
                (BACK, ONE, LabelClass("one", (2,), (0, 0, 0))),
                {},
                "Label scheme 's' uses a name twice: ['background', 'one', 'one']. Make them unique.",
            ),
            (
                (BACK, ONE, LabelClass("two", (2, 1), (0, 0, 0))),
                {},
                "Label scheme 's' uses a code twice: [0, 1, 2, 1]. Make them unique.",
            ),
            (
                (BACK, LabelClass("one", (), (0, 0, 0))),
                {},
                "Label scheme 's' has a class without a code. Give each class a value.",
            ),
            (
                (BACK, LabelClass("one", (300,), (0, 0, 0))),
                {},
                "Label scheme 's' has codes outside of 0 to 255: [0, 300]. Relabel the files.",
            ),
            (
                (BACK, LabelClass("one", (1, -1), (0, 0, 0))),
                {},
                "Label scheme 's' has codes outside of 0 to 255: [0, 1, -1]. Relabel the files.",
            ),
            (
                (BACK, ONE),
                {"all": ("one", "two")},
                "Region 'all' of label scheme 's' has unknown or no classes: ['two']. Use some of ['one'].",
            ),
            (
                (BACK, ONE),
                {"all": ("background", "one")},
                "Region 'all' of label scheme 's' has unknown or no classes: ['background']. Use some of ['one'].",
            ),
            (
                (BACK, ONE),
                {"none": ()},
                "Region 'none' of label scheme 's' has unknown or no classes: []. Use some of ['one'].",
            ),
        ],
    )
    def test_a_scheme_that_contradicts_itself_is_refused(self, classes, regions, message):
        assert says(LabelScheme, "s", classes, regions) == message


class TestFromNames:
    def test_orders_classes_by_value_and_makes_each_a_region(self):
        scheme = LabelScheme.from_names("d", {"lesion": 7, "background": 0, "edema": 2})
        assert scheme.names == ("background", "edema", "lesion")
        assert scheme.regions == {"edema": ("edema",), "lesion": ("lesion",)}
        np.testing.assert_array_equal(scheme.encode(np.array([0, 2, 7])), [0, 1, 2])
        np.testing.assert_array_equal(scheme.decode(np.array([0, 1, 2])), [0, 2, 7])

    def test_takes_regions(self):
        scheme = LabelScheme.from_names("d", {"bg": 0, "a": 1, "b": 2}, {"both": ["a", "b"]})
        assert scheme.regions == {"both": ("a", "b")}

    def test_gives_colours_that_people_can_tell_apart(self):
        scheme = LabelScheme.from_names("d", {"bg": 0, **{f"c{value}": value for value in range(1, 10)}})
        assert scheme.classes[0].color == (0, 0, 0)
        assert [item.color for item in scheme.classes[1:8]] == list(PALETTE)
        assert scheme.classes[8].color == PALETTE[0]

    def test_without_a_background_is_refused(self):
        # The class with the smallest value would silently become the background.
        assert says(LabelScheme.from_names, "d", {"lesion": 1, "edema": 2}) == (
            "Label scheme 'd' has no background: no class has the value 0. Add it."
        )
