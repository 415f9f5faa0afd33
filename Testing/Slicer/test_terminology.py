"""The module's terminology, read by Slicer: each class has its code, name and color there."""

from pathlib import Path

import pytest
import slicer

from TransferSegLib.labels import SCHEMES, LabelClass

FILE = Path(__file__).resolve().parents[2] / "TransferSeg" / "Resources" / "TransferSeg.term.json"
CONTEXT = "Segmentation category and type - TransferSeg"
CLASSES = {item.name: item for scheme in SCHEMES.values() for item in scheme.classes[1:]}


@pytest.fixture(scope="module")
def logic():
    logic = slicer.modules.terminologies.logic()
    assert logic.LoadTerminologyFromFile(str(FILE)) == CONTEXT
    return logic


def test_it_has_one_category_that_asks_where_in_the_body(logic):
    category = slicer.vtkSlicerTerminologyCategory()
    assert logic.GetNumberOfCategoriesInTerminology(CONTEXT) == 1
    assert logic.GetNthCategoryInTerminology(CONTEXT, 0, category)
    assert (category.GetCodingSchemeDesignator(), category.GetCodeValue()) == ("SCT", "49755003")
    assert category.GetShowAnatomy()  # a lesion can be in many places, so Slicer lets the user say where
    assert logic.GetNumberOfTypesInTerminologyCategory(CONTEXT, category) == len(CLASSES)


@pytest.mark.parametrize("item", CLASSES.values(), ids=list(CLASSES))
def test_a_class_is_found_by_its_name_with_its_code_and_color(logic, item: LabelClass):
    entry = slicer.vtkSlicerTerminologyEntry()
    assert logic.FindTypeInTerminologyBy3dSlicerLabel(CONTEXT, item.name, entry)
    found = entry.GetTypeObject()
    assert found.GetCodingSchemeDesignator() == "SCT"
    assert (found.GetCodeValue(), found.GetCodeMeaning()) == item.snomed
    assert tuple(found.GetRecommendedDisplayRGBValue()) == item.color
