"""Which node is which channel, and which nodes make a case, from what clinics and data sets call them."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from TransferSegBridge.channels import caseName, fillChannels, groupIntoCases, guessChannel, patientName

CHANNELS = ["t1", "t1c", "t2", "flair"]


def volume(name, kind="vtkMRMLScalarVolumeNode", shift=0.0):
    node = slicer.mrmlScene.AddNewNodeByClass(kind, name)
    slicer.util.updateVolumeFromArray(node, np.arange(8, dtype=np.int16).reshape(2, 2, 2))
    node.SetOrigin(shift, 0, 0)
    return node


def volumes(*names):
    return [volume(name) for name in names]


def segmentation(name, reference=None):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    if reference is not None:
        node.SetReferenceImageGeometryParameterFromVolumeNode(reference)
    return node


def label_map(name, shift=0.0):
    return volume(name, "vtkMRMLLabelMapVolumeNode", shift)


def loaded_from(node, path):
    storage = node.CreateDefaultStorageNode()
    slicer.mrmlScene.AddNode(storage)
    storage.SetFileName(path)
    node.SetAndObserveStorageNodeID(storage.GetID())
    return node


def tree():
    return slicer.mrmlScene.GetSubjectHierarchyNode()


def study(patient, name, nodes):
    scene = tree().GetSceneItemID()
    above = tree().GetItemChildWithName(scene, patient) or tree().CreateSubjectItem(scene, patient)
    item = tree().CreateStudyItem(above, name)
    for node in nodes:
        tree().SetItemParent(tree().GetItemByDataNode(node), item)


def folder(name, nodes):
    item = tree().CreateFolderItem(tree().GetSceneItemID(), name)
    for node in nodes:
        tree().SetItemParent(tree().GetItemByDataNode(node), item)


def names_of(found):
    return {channel: node.GetName() for channel, node in found.items()}


def cases_of(nodes, channels=CHANNELS):
    return [
        (name, names_of(images), label.GetName() if label else None)
        for name, images, label in groupIntoCases(nodes, channels)
    ]


# One node


@pytest.mark.parametrize(
    ("name", "channel"),
    [
        ("Brats18_2013_2_1_t1ce", "t1c"),
        ("Brats18_2013_2_1_t1", "t1"),
        ("sub-01_ce-gadolinium_T1w", "t1c"),
        ("sub-01_FLAIR", "flair"),
        ("3: AX T1", "t1"),
        ("5: AX T1 POST", "t1c"),
        ("6: SAG T1 MPRAGE +C", "t1c"),
        ("7: t1_mprage_sag_p2_iso_Gd", "t1c"),
        ("8: AX T1 FS POST GAD", "t1c"),
        ("AX T1 pre contrast", "t1"),
        ("T1 tra without contrast", "t1"),
        ("AX T1 post-op", "t1"),
        ("9: AX T2 FLAIR FS", "flair"),
        ("10: AX T2 TSE", "t2"),
        ("MRBrainTumor1", None),
        ("t1_seg", None),
        ("flair brain mask", None),
        ("DWI b1000", None),
    ],
)
def test_a_name_tells_the_channel(name, channel):
    assert guessChannel(volume(name)) == channel


def test_what_the_subject_hierarchy_knows_tells_the_channel_when_the_name_does_not():
    node = volume("301")
    assert guessChannel(node) is None
    tree().SetItemAttribute(tree().GetItemByDataNode(node), "DICOM.SeriesDescription", "AX FLAIR")
    assert guessChannel(node) == "flair"
    node.SetName("T2")
    assert guessChannel(node) == "t2"


def test_attributes_and_the_file_tell_the_channel_when_the_name_does_not():
    node = volume("301")
    loaded_from(node, "/data/ann/ann_t2.nii.gz")
    assert guessChannel(node) == "t2"
    node.SetAttribute("DICOM.SeriesDescription", "T1 POST")
    assert guessChannel(node) == "t1c"


class Database:
    """As slicer.dicomDatabase."""

    def __init__(self, **values):
        self.values = {"0008,103E": "", "0018,1030": "", "0018,0010": "", **values}

    def instanceValue(self, instance, tag):
        assert instance == "1.2.3"
        return self.values[tag]


@pytest.mark.parametrize(
    ("name", "values", "channel"),
    [
        ("301", {"0008,103E": "AX T2 FLAIR"}, "flair"),
        ("301", {"0018,1030": "t2_tse"}, "t2"),
        ("3: AX T1", {"0018,0010": "Gadovist"}, "t1c"),
        ("3: AX T1", {"0018,0010": "NONE"}, "t1"),
        ("3: AX T1 PRE", {"0018,0010": "Gadovist"}, "t1"),
        ("3: AX T2", {"0018,0010": "Gadovist"}, "t2"),
    ],
)
def test_the_dicom_database_tells_the_series_and_the_contrast_agent(monkeypatch, name, values, channel):
    monkeypatch.setattr(slicer, "dicomDatabase", Database(**values), raising=False)
    node = volume(name)
    node.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")
    assert guessChannel(node) == channel


# The channels of a model


def test_channels_are_filled_from_the_names():
    nodes = volumes("Ann_flair", "Ann_t1", "Ann_t1ce", "Ann_t2", "Ann_dwi")
    assert names_of(fillChannels(CHANNELS, nodes, {})) == {
        "t1": "Ann_t1",
        "t1c": "Ann_t1ce",
        "t2": "Ann_t2",
        "flair": "Ann_flair",
    }


def test_channels_that_a_model_calls_its_own_way_are_found_by_that_name():
    nodes = volumes("Ann_flair", "Ann_dwi_b1000", "Ann_adc")
    assert names_of(fillChannels(["adc", "dwi"], nodes, {})) == {"adc": "Ann_adc", "dwi": "Ann_dwi_b1000"}


def test_what_the_user_chose_is_kept_and_used_once():
    flair, t1, t2 = nodes = volumes("Ann_flair", "Ann_t1", "Ann_t2")
    # The user takes the FLAIR for a T2: it is not offered a second time, and T2 is not filled again.
    assert names_of(fillChannels(CHANNELS, nodes, {"t2": flair})) == {"t1": "Ann_t1"}
    assert fillChannels(CHANNELS, nodes, {"t1": t1, "t2": t2, "flair": flair, "t1c": None}) == {}


def test_patients_are_never_mixed():
    nodes = volumes("Ann_flair", "Ann_t1", "Bob_flair", "Bob_t1", "Bob_t2", "Cem_t1c")
    assert names_of(fillChannels(CHANNELS, nodes, {})) == {"flair": "Bob_flair", "t1": "Bob_t1", "t2": "Bob_t2"}
    assert names_of(fillChannels(CHANNELS, nodes, {"flair": nodes[0]})) == {"t1": "Ann_t1"}


def test_an_image_of_the_users_choice_tells_the_patient_whatever_it_is_called():
    nodes = volumes("Ann_t1", "Ann_t2", "Bob_t1", "Bob_t2")
    assert names_of(fillChannels(CHANNELS, nodes, {"flair": volume("Ann weird")})) == {}
    study("Ann", "2024", [*nodes[:2], own := volume("weird")])
    assert names_of(fillChannels(CHANNELS, nodes, {"flair": own})) == {"t1": "Ann_t1", "t2": "Ann_t2"}
    # Where there is one patient only, it can be no other.
    assert names_of(fillChannels(CHANNELS, nodes[2:], {"flair": volume("301")})) == {"t1": "Bob_t1", "t2": "Bob_t2"}


def test_of_equally_complete_patients_the_newest_is_taken():
    nodes = volumes("Ann_flair", "Ann_t1", "Bob_flair", "Bob_t1")
    assert names_of(fillChannels(CHANNELS, nodes, {})) == {"flair": "Bob_flair", "t1": "Bob_t1"}


def test_studies_are_never_mixed_whatever_the_names():
    first, second = volumes("3: AX T1", "4: AX T2"), volumes("3: AX T1", "5: SAG FLAIR", "6: AX T1 POST")
    study("Ann", "2023", first)
    study("Ann", "2024", second)
    found = fillChannels(CHANNELS, first + second, {})
    assert set(found.values()) == set(second)
    assert set(fillChannels(CHANNELS, first + second, {"t1": first[0]}).values()) == {first[1]}


def test_of_several_images_of_one_channel_the_newest_is_taken():
    nodes = volumes("Ann_t1", "Ann_flair", "Ann_flair_registered", "Ann_flair_seg", "Ann_flair brain mask")
    assert names_of(fillChannels(CHANNELS, nodes, {})) == {"t1": "Ann_t1", "flair": "Ann_flair_registered"}


def test_images_with_plain_names_and_orientations_go_together():
    nodes = volumes("AX T1", "SAG FLAIR", "COR T2 TSE 3mm", "T1 tra post Gd")
    assert names_of(fillChannels(CHANNELS, nodes, {})) == {
        "t1": "AX T1",
        "t1c": "T1 tra post Gd",
        "t2": "COR T2 TSE 3mm",
        "flair": "SAG FLAIR",
    }


def test_what_is_no_image_is_not_chosen():
    vector = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "t1")
    slicer.util.updateVolumeFromArray(vector, np.zeros((2, 2, 2, 3), np.uint8))
    hidden = volume("flair")
    hidden.SetHideFromEditors(True)
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "t1c")
    nodes = [vector, hidden, empty, label_map("t2")]
    assert fillChannels(CHANNELS, nodes, {}) == {}
    assert groupIntoCases(nodes, CHANNELS) == []
    assert fillChannels(CHANNELS, [], {}) == {}


# Cases


@pytest.mark.parametrize(
    ("names", "case"),
    [
        (["Brats18_2013_2_1_t1", "Brats18_2013_2_1_flair"], "Brats18_2013_2_1"),
        (["sub-01_ses-2_T1w", "sub-01_ses-2_FLAIR"], "sub-01_ses-2"),
        (["TransferSegSample t1", "TransferSegSample t1c"], "TransferSegSample"),
        (["t1_Ann", "flair_Ann"], "ann"),
        (["AX T1", "AX FLAIR"], "case"),
        (["t1", "flair"], "case"),
        (["Kůra Žižka T1", "Kůra Žižka FLAIR"], "Kůra Žižka"),
        ([], "case"),
    ],
)
def test_a_case_is_called_what_the_names_share(names, case):
    assert caseName(volumes(*names)) == case


def test_a_case_is_called_after_patient_and_study_or_folder_when_the_names_say_nothing():
    nodes = volumes("3: AX T1", "4: AX T2")
    for node in nodes:
        loaded_from(node, f"/data/Ann 2024/{node.GetName()}.nii")
    assert caseName(nodes) == "Ann 2024"
    assert patientName(nodes) == ""
    study("Ann", "MR Brain", nodes)
    assert caseName(nodes) == "Ann MR Brain"
    assert patientName(nodes) == "Ann"


def test_visits_of_a_patient_share_the_patient():
    assert patientName(volumes("Brats18_TCIA02_370_1_t1", "Brats18_TCIA02_370_1_t2")) == "Brats18_TCIA02_370"


def test_nodes_are_grouped_by_name_with_their_segmentation():
    nodes = volumes("Ann_flair", "Bob_t1", "Ann_t1", "Bob_flair")
    segmentation("Bob_seg")
    label_map("Ann-label")
    assert cases_of(nodes) == [
        ("Ann", {"t1": "Ann_t1", "flair": "Ann_flair"}, "Ann-label"),
        ("Bob", {"t1": "Bob_t1", "flair": "Bob_flair"}, "Bob_seg"),
    ]


def test_nodes_are_grouped_by_study_with_their_segmentation():
    ann, bob = volumes("3: T1", "4: FLAIR"), volumes("3: T1", "4: FLAIR")
    truth = segmentation("Segmentation")
    study("Ann", "2024", ann)
    study("Bob", "2024", [*bob, truth])
    images = {"t1": "3: T1", "flair": "4: FLAIR"}
    assert cases_of([*ann, *bob]) == [("Ann 2024", images, None), ("Bob 2024", images, "Segmentation")]


def test_nodes_are_grouped_by_folder_of_the_subject_hierarchy():
    ann, bob = volumes("T1", "FLAIR"), volumes("T1", "FLAIR")
    folder("Ann", ann)
    folder("Bob", [*bob, segmentation("Segmentation")])
    found = groupIntoCases([*ann, *bob], CHANNELS)
    assert [set(images.values()) for _name, images, _label in found] == [set(ann), set(bob)]
    assert [label.GetName() if label else None for _name, _images, label in found] == [None, "Segmentation"]


def test_two_patients_of_one_folder_are_told_apart_by_name():
    nodes = volumes("Ann_T1", "Bob_T1", "Ann_T2", "Bob_T2")
    folder("all", nodes)
    assert [images for _name, images, _label in cases_of(nodes)] == [
        {"t1": "Ann_T1", "t2": "Ann_T2"},
        {"t1": "Bob_T1", "t2": "Bob_T2"},
    ]


def test_equal_names_are_told_apart_by_the_folder_of_the_files():
    """Slicer adds a number to a name that the scene has: flair_1. It tells nothing: here t2 has none."""
    nodes = [
        loaded_from(volume(name), path)
        for name, path in [
            ("flair", "/data/Ann/flair.nii.gz"),
            ("flair_1", "/data/Bob/flair.nii.gz"),
            ("t2", "/data/Bob/t2.nii.gz"),
            ("t1", "/data/Ann/t1.nii.gz"),
        ]
    ]
    loaded_from(label_map("seg"), "/data/Bob/seg.nii.gz")
    assert cases_of(nodes) == [
        ("Ann", {"t1": "t1", "flair": "flair"}, None),
        ("Bob", {"t2": "t2", "flair": "flair_1"}, "seg"),
    ]


def test_numbers_tell_patients_apart_when_there_is_nothing_else():
    nodes = volumes("flair", "t1", "flair_1", "t1_1")
    assert [images for _name, images, _label in cases_of(nodes)] == [
        {"t1": "t1", "flair": "flair"},
        {"t1": "t1_1", "flair": "flair_1"},
    ]


def test_a_segmentation_belongs_to_the_image_it_was_drawn_on_whatever_its_name():
    ann, bob = volumes("Ann_t1", "Ann_t2"), volumes("Bob_t1", "Bob_t2")
    segmentation("Ann final", bob[1])
    assert [label for _name, _images, label in cases_of([*ann, *bob])] == [None, "Ann final"]


def test_a_label_map_belongs_to_the_only_case_on_its_grid():
    ann, bob = volume("Ann_t1", shift=5.0), volume("Bob_t1", shift=9.0)
    label_map("drawn", shift=9.0)
    assert [label for _name, _images, label in cases_of([ann, bob])] == [None, "drawn"]


def test_a_label_map_on_the_grid_of_several_cases_is_given_to_none():
    label_map("drawn")
    assert [label for _name, _images, label in cases_of(volumes("Ann_t1", "Bob_t1"))] == [None, None]


def test_the_only_case_gets_the_only_segmentation():
    segmentation("my work")
    assert [label for _name, _images, label in cases_of(volumes("Ann_t1", "Ann_t2"))] == ["my work"]


def test_what_a_person_drew_comes_before_what_transferseg_made():
    from TransferSegBridge.nodes import Place, showLabels

    from TransferSegLib.labels import LESION

    node = volume("Ann_t1")
    drawn = segmentation("drawn", node)
    drawn.GetSegmentation().AddEmptySegment("lesion")
    showLabels(np.ones((2, 2, 2), np.uint8), LESION, Place.of(node), name="result")
    assert [label for _name, _images, label in cases_of([node])] == ["drawn"]
    slicer.mrmlScene.RemoveNode(drawn)
    assert [label for _name, _images, label in cases_of([node])] == ["result"]


def test_a_brain_mask_is_no_annotation():
    label_map("Ann_brain_mask")
    assert cases_of(volumes("Ann_t1")) == [("Ann", {"t1": "Ann_t1"}, None)]
