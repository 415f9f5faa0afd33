"""Finding cases on disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from TransferSegLib.case import load_case
from TransferSegLib.case_files import CaseFiles
from TransferSegLib.datasets import Dataset, find_cases, parse_case, write_manifest
from TransferSegLib.errors import InputError
from TransferSegLib.labels import GLIOMA, GLIOMA_SINCE_2023, LESION

MODALITIES = ("t1", "t1c", "t2", "flair")
BRATS_OLD = ("t1", "t1ce", "t2", "flair", "seg")
BRATS_NEW = ("t1n", "t1c", "t2w", "t2f", "seg")


def touch(*files: Path) -> None:
    """Only names matter to the finder: empty files will do."""
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def write(file: Path, text: str, encoding: str = "utf-8") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding)
    return file


def make_brats(folder: Path, names: tuple[str, ...] = BRATS_OLD, sep: str = "_", ending: str = ".nii.gz") -> None:
    touch(*(folder / f"{folder.name}{sep}{name}{ending}" for name in names))


def error_of(path: Path | str) -> tuple[str, str]:
    with pytest.raises(InputError) as caught:
        find_cases(path)
    return caught.value.cause, caught.value.remedy


# BraTS


def test_brats_2018_has_the_grade_in_the_folder_and_the_visit_in_the_name(tmp_path: Path) -> None:
    make_brats(tmp_path / "HGG" / "Brats18_TCIA02_370_1")
    make_brats(tmp_path / "LGG" / "Brats18_2013_0_1")
    dataset = find_cases(tmp_path)
    assert (dataset.root, dataset.layout, dataset.scheme) == (tmp_path, "brats", GLIOMA)
    low, high = dataset.cases
    assert (low.name, low.patient, low.group) == ("Brats18_2013_0_1", "Brats18_2013_0", "LGG")
    assert (high.name, high.patient, high.group) == ("Brats18_TCIA02_370_1", "Brats18_TCIA02_370", "HGG")
    folder = tmp_path / "HGG" / "Brats18_TCIA02_370_1"
    assert high.channels == {
        "t1": folder / "Brats18_TCIA02_370_1_t1.nii.gz",
        "t1c": folder / "Brats18_TCIA02_370_1_t1ce.nii.gz",
        "t2": folder / "Brats18_TCIA02_370_1_t2.nii.gz",
        "flair": folder / "Brats18_TCIA02_370_1_flair.nii.gz",
    }
    assert high.label == folder / "Brats18_TCIA02_370_1_seg.nii.gz"


def test_brats_2020_has_the_grade_in_name_mapping(tmp_path: Path) -> None:
    root = tmp_path / "MICCAI_BraTS2020_TrainingData"
    for name in ("BraTS20_Training_001", "BraTS20_Training_002", "BraTS20_Training_003"):
        make_brats(root / name, ending=".nii")
    write(
        root / "name_mapping.csv",
        "Grade,BraTS_2019_subject_ID,BraTS_2020_subject_ID\n"
        "HGG,BraTS19_CBICA_AAB_1,BraTS20_Training_001\nLGG,NA,BraTS20_Training_002\n",
    )
    write(root / "survival_info.csv", "Brats20ID,Age\nBraTS20_Training_001,60\n")
    for start in (tmp_path, root):
        dataset = find_cases(start)
        assert (dataset.layout, dataset.scheme) == ("brats", GLIOMA)
        assert [case.group for case in dataset.cases] == ["HGG", "LGG", ""]
        assert [case.patient for case in dataset.cases] == [case.name for case in dataset.cases]


def test_the_label_map_of_brats_2020_case_355_is_found_by_its_odd_name(tmp_path: Path) -> None:
    folder = tmp_path / "BraTS20_Training_355"
    make_brats(folder, BRATS_OLD[:4], ending=".nii")
    touch(folder / "W39_1998.09.19_Segm.nii")
    assert find_cases(tmp_path).cases[0].label == folder / "W39_1998.09.19_Segm.nii"


def test_brats_2023_visits_belong_to_one_patient(tmp_path: Path) -> None:
    make_brats(tmp_path / "BraTS-GLI-00002-000", BRATS_NEW, "-")
    make_brats(tmp_path / "BraTS-GLI-00002-001", BRATS_NEW[:4], "-")
    dataset = find_cases(tmp_path)
    assert (dataset.layout, dataset.scheme) == ("brats", GLIOMA_SINCE_2023)
    assert [case.name for case in dataset.cases] == ["BraTS-GLI-00002-000", "BraTS-GLI-00002-001"]
    assert {case.patient for case in dataset.cases} == {"BraTS-GLI-00002"}
    assert [set(case.channels) for case in dataset.cases] == [set(MODALITIES)] * 2
    assert [case.label is None for case in dataset.cases] == [False, True]


def test_brats_2021_has_no_visits(tmp_path: Path) -> None:
    make_brats(tmp_path / "BraTS2021_00000")
    assert find_cases(tmp_path).cases[0].patient == "BraTS2021_00000"


def test_one_brats_case_folder_is_a_dataset_of_one(tmp_path: Path) -> None:
    make_brats(tmp_path / "HGG" / "Brats18_2013_2_1")
    dataset = find_cases(tmp_path / "HGG" / "Brats18_2013_2_1")
    assert dataset.layout == "brats"
    assert [(case.name, case.group) for case in dataset.cases] == [("Brats18_2013_2_1", "HGG")]


def test_label_values_are_not_taken_for_glioma_without_the_name_of_brats(tmp_path: Path) -> None:
    make_brats(tmp_path / "ms_01")
    assert (find_cases(tmp_path).layout, find_cases(tmp_path).scheme) == ("folders", None)


def test_since_brats_2023_enhancing_tumour_is_3_and_the_cavity_of_a_resection_is_not_taken_for_it() -> None:
    with pytest.raises(InputError) as caught:
        GLIOMA_SINCE_2023.encode(np.array([0, 1, 2, 4]), "BraTS-GLI-02062-100-seg.nii.gz")
    assert caught.value.cause == "BraTS-GLI-02062-100-seg.nii.gz has the unknown label 4."
    assert "2 = edema, 3 = enhancing." in caught.value.remedy
    assert "--labels, for instance a dataset.json that names every value." in caught.value.remedy
    assert GLIOMA_SINCE_2023.encode(np.array([0, 1, 2, 3])).tolist() == [0, 1, 2, 3]
    assert GLIOMA_SINCE_2023.decode(np.array([3])).tolist() == [3]
    assert (GLIOMA_SINCE_2023.name, GLIOMA_SINCE_2023.regions) == (GLIOMA.name, GLIOMA.regions)
    assert GLIOMA.encode(np.array([0, 1, 2, 4])).tolist() == [0, 1, 2, 3]


def test_of_two_years_of_brats_together_nobody_can_tell_what_4_means(tmp_path: Path) -> None:
    make_brats(tmp_path / "BraTS-GLI-00002-000", BRATS_NEW, "-")
    make_brats(tmp_path / "BraTS2021_00000")
    assert (find_cases(tmp_path).layout, find_cases(tmp_path).scheme) == ("brats", None)


def test_pediatric_brats_gives_its_values_another_meaning(tmp_path: Path) -> None:
    make_brats(tmp_path / "BraTS-PED-00001-000", BRATS_NEW, "-")
    assert (find_cases(tmp_path).layout, find_cases(tmp_path).scheme) == ("brats", None)


# BIDS


def test_bids_sessions_are_cases_and_subjects_are_patients(tmp_path: Path) -> None:
    for visit, images in {
        "sub-01/ses-01": ("T1w", "ce-gadolinium_T1w", "T2w", "FLAIR", "PDw"),
        "sub-01/ses-02": ("T1w", "FLAIR"),
        "sub-02": ("acq-3D_FLAIR", "ce-none_T1w"),
        "sub-03": ("bold",),
    }.items():
        name = visit.replace("/", "_")
        touch(*(tmp_path / visit / "anat" / f"{name}_{image}.nii.gz" for image in images))
        touch(tmp_path / visit / "anat" / f"{name}_T1w.json")
    lesions = tmp_path / "derivatives" / "manual"
    first = lesions / "sub-01" / "ses-01" / "anat" / "sub-01_ses-01_label-lesion_mask.nii.gz"
    second = lesions / "sub-02" / "anat" / "sub-02_dseg.nii.gz"
    touch(first, second, tmp_path / "derivatives" / "bet" / "sub-02" / "anat" / "sub-02_desc-brain_mask.nii.gz")
    touch(tmp_path / "derivatives" / "fast" / "sub-02" / "anat" / "sub-02_label-GM_probseg.nii.gz")
    write(tmp_path / "participants.tsv", "participant_id\tage\tgroup\nsub-01\t30\tRRMS\nsub-02\t40\tn/a\n")

    dataset = find_cases(tmp_path)
    assert (dataset.layout, dataset.scheme) == ("bids", None)
    assert [(case.name, case.patient, case.group, case.label) for case in dataset.cases] == [
        ("sub-01_ses-01", "sub-01", "RRMS", first),
        ("sub-01_ses-02", "sub-01", "RRMS", None),
        ("sub-02", "sub-02", "", second),
    ]
    anat = tmp_path / "sub-01" / "ses-01" / "anat"
    assert dataset.cases[0].channels["t1"] == anat / "sub-01_ses-01_T1w.nii.gz"
    assert dataset.cases[0].channels["t1c"] == anat / "sub-01_ses-01_ce-gadolinium_T1w.nii.gz"
    assert [sorted(case.channels) for case in dataset.cases] == [sorted(MODALITIES), ["flair", "t1"], ["flair", "t1"]]


def test_one_bids_subject_keeps_its_labels_and_group(tmp_path: Path) -> None:
    touch(tmp_path / "sub-01" / "anat" / "sub-01_FLAIR.nii", tmp_path / "sub-02" / "anat" / "sub-02_FLAIR.nii")
    label = tmp_path / "derivatives" / "manual" / "sub-01" / "anat" / "sub-01_dseg.nii"
    touch(label)
    write(tmp_path / "participants.tsv", "participant_id\tdiagnosis\n01\tMS\n")
    (case,) = find_cases(tmp_path / "sub-01")
    assert (case.name, case.group, case.label) == ("sub-01", "MS", label)


# Manifest CSV


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_manifest_names_the_files(tmp_path: Path, separator: str, encoding: str) -> None:
    absolute = tmp_path / "elsewhere" / "b.nii.gz"
    touch(tmp_path / "Jürgen 1" / "a b.nii.gz", tmp_path / "Jürgen 1" / "läsion.nii.gz", tmp_path / "swi.mha", absolute)
    rows = [
        ["Case", "T1", "t1ce", "T1_SWI", "label", "group", "patient"],
        ["zoé", "Jürgen 1/a b.nii.gz", "", "swi.mha", "Jürgen 1/läsion.nii.gz", "HGG", "p1"],
        ["", "", "", "", "", "", ""],
        ["adam", "Jürgen 1\\a b.nii.gz", str(absolute), "", "", "", ""],
    ]
    text = "\n".join(separator.join(row) for row in rows)
    dataset = find_cases(write(tmp_path / "fälle neu.csv", text, encoding))
    assert (dataset.layout, dataset.scheme) == ("manifest", None)
    adam, zoe = dataset.cases
    assert zoe.channels == {"t1": tmp_path / "Jürgen 1" / "a b.nii.gz", "t1_swi": tmp_path / "swi.mha"}
    assert (zoe.label, zoe.group, zoe.patient) == (tmp_path / "Jürgen 1" / "läsion.nii.gz", "HGG", "p1")
    assert adam.channels == {"t1": tmp_path / "Jürgen 1" / "a b.nii.gz", "t1c": absolute}
    assert (adam.label, adam.group, adam.patient) == (None, "", "adam")


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("name,t1\na,t1.nii", "{path} has no column 'case'."),
        ("", "{path} has no column 'case'."),
        ("case,label\na,t1.nii", "{path} has no column for a channel."),
        ("case,t1,T1\na,t1.nii,", "{path} has the column 't1' twice."),
        ("case,t1\n\na,t1.nii\nb,no.nii", "In row 4 of {path}, {folder}no.nii does not exist."),
        ("case,t1,label\na,t1.nii,no.nii", "In row 2 of {path}, {folder}no.nii does not exist."),
        ("case,t1\n,t1.nii", "Row 2 of {path} has no name in the column 'case'."),
        ("case,t1,label\na,,t1.nii", "Row 2 of {path} has no image."),
        ("case,t1\na,t1.nii,x", "Row 2 of {path} has more cells than the first row has columns."),
        ("case,t1ce,t1c\na,t1.nii,t1.nii", "Case 'a' has two files for 't1c': {folder}t1.nii and {folder}t1.nii."),
        (
            "case,t1\na,t1.nii\nA,t2.nii",
            "Two cases have the name 'A': one has {folder}t1.nii, the other {folder}t2.nii.",
        ),
    ],
)
def test_a_wrong_manifest_is_refused_with_row_and_file(tmp_path: Path, text: str, cause: str) -> None:
    touch(tmp_path / "t1.nii", tmp_path / "t2.nii")
    path = write(tmp_path / "cases.csv", text)
    assert error_of(path)[0] == cause.format(path=path, folder=f"{tmp_path}{os.sep}")


def test_a_manifest_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "cases.csv", "case,t1\nJürgen,t1.nii", "latin-1")
    assert error_of(path) == (f"{path} is not a text file in UTF-8.", "Save it as 'CSV UTF-8'.")


def a_case(folder: Path, name: str, *channels: str, **more: Any) -> CaseFiles:
    """A case with a file for each channel; names of files and folders are as people give them."""
    files = {channel: folder / name.strip(" .") / f"{channel}.nii.gz" for channel in channels}
    touch(*files.values(), *(path for path in more.values() if isinstance(path, Path)))
    return CaseFiles(name, files, **more)


def test_a_manifest_that_is_written_is_read_back_as_the_same_cases(tmp_path: Path) -> None:
    folder = tmp_path / 'Köln, "Süd"; Haus 7' / "脳\tMRI"
    cases = (
        a_case(folder, "Brats18_Köln_7_1", "flair", "t1", group="HGG"),  # whose patient is told by its name
        a_case(folder, "Brats18_Köln_7_2", "t1", patient="Brats18_Köln_7_2"),  # and whose is not
        a_case(folder, "Müller; 'Zoé', \"zwei\"", "t1", "t1c", "adc map", label=folder / "seg, neu.nrrd"),
        a_case(folder, "x\ny", "t1", patient="Frau X, geb. Y", group="LGG; unsicher"),
        a_case(folder, "ünder", "t2", "pd", brain=folder / "brain.nii"),
    )
    path = write_manifest(tmp_path / "neuer Ordner" / "fälle.csv", cases)
    assert find_cases(path) == Dataset(path, "manifest", tuple(sorted(cases, key=lambda case: case.name)))
    header = path.read_text("utf-8").splitlines()[0]
    assert header == "case,t1,t1c,t2,flair,adc map,pd,label,brain,group,patient"


@pytest.mark.skipif(os.name == "nt", reason="elsewhere such names are plain file names, which shows the writing")
def test_names_like_paths_of_windows_come_back(tmp_path: Path) -> None:
    t1, label = tmp_path / r"C:\data, old\p07\t1.nii.gz", tmp_path / r"\\server\share\seg.nii"
    touch(t1, label)
    case = CaseFiles("p07", {"t1": t1}, label)
    assert find_cases(write_manifest(tmp_path / "cases.csv", [case])).cases == (case,)


def test_a_manifest_has_only_the_columns_that_are_in_use_and_paths_that_lead_there_from_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path / "a" / "t1.nii", tmp_path / "other" / "x")
    path = write_manifest("other/cases.csv", [CaseFiles("p1", {"t1": Path("a/../a/t1.nii")})])
    assert path.read_text("utf-8") == f"case,t1\np1,{tmp_path / 'a' / 't1.nii'}\n"
    monkeypatch.chdir(tmp_path / "other")
    assert find_cases("cases.csv").cases == (CaseFiles("p1", {"t1": tmp_path / "a" / "t1.nii"}),)


@pytest.mark.parametrize(
    ("case", "cause"),
    [
        (CaseFiles(" p1", {"t1": Path("a")}), "' p1' of case ' p1' cannot stand in a table."),
        (CaseFiles("p1", {"t1": Path("a")}, group="x "), "'x ' of case 'p1' cannot stand in a table."),
        (CaseFiles("p\r1", {"t1": Path("a")}), "'p\\r1' of case 'p\r1' cannot stand in a table."),
        (CaseFiles("p\udcff", {"t1": Path("a")}), "'p\\udcff' of case 'p\udcff' cannot stand in a table."),
        (CaseFiles("p1", {"group": Path("a")}), "'group' cannot be a channel of a manifest."),
        (CaseFiles("p1", {"label": Path("a")}), "'label' cannot be a channel of a manifest."),
        (CaseFiles("p1", {"T1CE": Path("a")}), "'T1CE' cannot be a channel of a manifest."),
        (CaseFiles("p1", {"a;b;c": Path("a")}), "'a;b;c' cannot be a channel of a manifest."),
        (CaseFiles("p1", {" t1": Path("a")}), "' t1' cannot be a channel of a manifest."),
        (CaseFiles("p1", {"": Path("a")}), "'' cannot be a channel of a manifest."),
    ],
)
def test_what_would_be_read_otherwise_is_not_written(tmp_path: Path, case: CaseFiles, cause: str) -> None:
    with pytest.raises(InputError) as caught:
        write_manifest(tmp_path / "cases.csv", [case])
    assert caught.value.cause == cause
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_needs_cases_of_different_names_and_a_name_of_its_own(tmp_path: Path) -> None:
    first, second = a_case(tmp_path, "p1", "t1"), a_case(tmp_path, "P1", "t2")
    with pytest.raises(InputError, match="There is no case to write"):
        write_manifest(tmp_path / "cases.csv", [])
    with pytest.raises(InputError, match="Two cases have the name 'P1'"):
        write_manifest(tmp_path / "cases.csv", [first, second])
    with pytest.raises(InputError, match=r"cases is no name of a manifest\. Let it end in \.csv\."):
        write_manifest(tmp_path / "cases", [first])


# Plain folders


def test_case_folders_hold_files_named_after_their_channels(tmp_path: Path) -> None:
    root = tmp_path / "Fälle aus Köln"
    for patient in ("patient 2", "Jürgen"):
        touch(*(root / patient / f"{name}.nii.gz" for name in (*MODALITIES, "lesions", "brainmask")))
    dataset = find_cases(root)
    assert (dataset.layout, dataset.scheme) == ("folders", None)
    assert [case.name for case in dataset.cases] == ["Jürgen", "patient 2"]
    assert dataset.cases[0].channels == {name: root / "Jürgen" / f"{name}.nii.gz" for name in MODALITIES}
    assert dataset.cases[0].label == root / "Jürgen" / "lesions.nii.gz"


def test_a_case_folder_is_a_dataset_of_one(tmp_path: Path) -> None:
    touch(tmp_path / "p07" / "FLAIR.mha", tmp_path / "p07" / "T1.nrrd")
    (case,) = find_cases(tmp_path / "p07")
    assert (case.name, sorted(case.channels)) == ("p07", ["flair", "t1"])


@pytest.mark.parametrize(
    "name", ["seg", "t1_Segmentation.seg", "labels", "flair-lesion", "lesionmask", "mask", "gt", "p1_consensus"]
)
def test_a_file_name_tells_the_label_map(tmp_path: Path, name: str) -> None:
    touch(tmp_path / "p1" / "flair.nrrd", tmp_path / "p1" / f"{name}.nrrd")
    (case,) = find_cases(tmp_path)
    assert (list(case.channels), case.label) == (["flair"], tmp_path / "p1" / f"{name}.nrrd")


@pytest.mark.parametrize("name", ["brainmask", "brain_mask", "T1-brain-mask"])
def test_a_brain_mask_is_neither_label_nor_channel(tmp_path: Path, name: str) -> None:
    touch(tmp_path / "p1" / "flair.nii", tmp_path / "p1" / f"{name}.nii")
    (case,) = find_cases(tmp_path)
    assert (list(case.channels), case.label) == (["flair"], None)
    assert case.brain == tmp_path / "p1" / f"{name}.nii"


def test_a_brain_mask_can_be_given_in_a_manifest_and_for_one_case(tmp_path: Path) -> None:
    touch(tmp_path / "a.nii", tmp_path / "m.nii", tmp_path / "b.nii")
    path = write(tmp_path / "cases.csv", "case,t1,brain\nx,a.nii,m.nii\ny,b.nii,\n")
    assert [(case.brain, sorted(case.channels)) for case in find_cases(path)] == [
        (tmp_path / "m.nii", ["t1"]),
        (None, ["t1"]),
    ]
    (case,) = parse_case(f"t1={tmp_path / 'a.nii'},brain={tmp_path / 'm.nii'}")
    assert (case.brain, sorted(case.channels), case.label) == (tmp_path / "m.nii", ["t1"], None)


def test_a_brain_mask_alone_is_no_case(tmp_path: Path) -> None:
    touch(tmp_path / "m.nii")
    with pytest.raises(InputError, match="has no image"):
        parse_case(f"brain={tmp_path / 'm.nii'}")


def test_a_word_in_the_name_of_the_case_is_not_taken_for_a_channel_or_label(tmp_path: Path) -> None:
    folder = tmp_path / "lesion_t1c_5"
    touch(folder / "lesion_t1c_5_t2.nii", folder / "lesion_t1c_5_flair.nii")
    (case,) = find_cases(tmp_path)
    assert (sorted(case.channels), case.label) == (["flair", "t2"], None)


def test_dicom_series_are_folders_named_after_their_channels(tmp_path: Path) -> None:
    patient = tmp_path / "p1"
    touch(
        patient / "t1" / "IM0001", patient / "t1" / "IM0002", patient / "T1 post KM" / "1.dcm", patient / "t2" / "x.nii"
    )
    (patient / "flair").mkdir()
    touch(
        patient / "T2 FLAIR" / "DICOMDIR",
        patient / "T2 FLAIR" / "series 1" / "1.dcm",
        patient / "lesions.nii.gz",
        patient / "report" / "t1.txt",
    )
    (case,) = find_cases(tmp_path)
    assert case.channels == {"t1": patient / "t1", "t1c": patient / "T1 post KM", "t2": patient / "t2" / "x.nii"}
    assert case.label == patient / "lesions.nii.gz"


def test_hidden_files_and_those_of_macos_are_ignored(tmp_path: Path) -> None:
    touch(*(tmp_path / "p1" / name for name in ("t1.nii.gz", "._t1.nii.gz", ".t1_old.nii.gz", ".DS_Store")))
    touch(tmp_path / "__MACOSX" / "p1" / "t1.nii.gz", tmp_path / ".trash" / "p1" / "t1.nii.gz")
    (case,) = find_cases(tmp_path)
    assert case.channels == {"t1": tmp_path / "p1" / "t1.nii.gz"}


def test_header_and_data_of_an_analyze_pair_are_one_image(tmp_path: Path) -> None:
    touch(tmp_path / "p1" / "t1.hdr", tmp_path / "p1" / "t1.img", tmp_path / "p1" / "t2.img")
    (case,) = find_cases(tmp_path)
    assert case.channels == {"t1": tmp_path / "p1" / "t1.hdr", "t2": tmp_path / "p1" / "t2.img"}


def test_other_channels_are_found_when_asked_for(tmp_path: Path) -> None:
    touch(*(tmp_path / "p1" / f"p1_{name}.nii" for name in ("t1", "dwi_to_t1", "T2_star", "flair")))
    (case,) = find_cases(tmp_path, ("t1", "dwi", "star", "t2_star")).cases
    assert {channel: file.stem for channel, file in case.channels.items()} == {
        "t1": "p1_t1",
        "dwi": "p1_dwi_to_t1",
        "t2_star": "p1_T2_star",
    }


@pytest.mark.parametrize(
    ("names", "what"),
    [(("t1_old.nii", "t1w.nii"), "t1"), (("lesions.nii", "seg.nii"), "label"), (("t2.mha", "t2.nii"), "t2")],
)
def test_two_files_that_claim_the_same_are_refused(tmp_path: Path, names: tuple[str, str], what: str) -> None:
    first, second = (tmp_path / "p1" / name for name in names)
    touch(first, second, tmp_path / "p1" / "flair.nii")
    assert error_of(tmp_path) == (
        f"Case 'p1' has two files for '{what}': {first} and {second}.",
        "Keep one, give each case a folder of its own, or list the cases in a manifest CSV.",
    )


def test_found_files_load(tmp_path: Path) -> None:
    folder = tmp_path / "ein Fall für Zoë" / "p1"
    folder.mkdir(parents=True)
    image = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    nib.save(nib.Nifti1Image(image, np.eye(4)), folder / "flair.nii.gz")
    nib.save(nib.Nifti1Image((image > 20).astype(np.uint8), np.eye(4)), folder / "lesions.nii.gz")
    (files,) = find_cases(tmp_path)
    case = load_case(files, ["flair"], LESION)
    assert case.label is not None
    assert case.label.sum() == 3


# Folders that are no dataset


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    assert error_of(tmp_path / "nö") == (f"{tmp_path / 'nö'} does not exist.", "Check the path.")


def test_an_unreadable_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "p1" / "t1.nii")
    scandir = os.scandir

    def refuse(folder: Path) -> object:
        if folder.name == "p1":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert error_of(tmp_path) == (f"{tmp_path / 'p1'} cannot be read: no permission.", "Change its permissions.")


def test_a_folder_without_a_case_tells_the_layouts_that_are_understood(tmp_path: Path) -> None:
    touch(tmp_path / "masks" / "p1_seg.nii.gz", tmp_path / "masks" / "p2_seg.nii.gz", tmp_path / "scan.nii.gz")
    assert error_of(tmp_path) == (
        f"No case was found in {tmp_path}.",
        "Give a folder of case folders whose file names tell the channel (t1, t1c, t2, flair), a folder in the layout "
        "of BraTS, nnU-Net or BIDS, or a manifest CSV with the columns case,t1,t1c,t2,flair,label,brain,group.",
    )


def test_a_single_image_is_no_dataset(tmp_path: Path) -> None:
    file = tmp_path / "t1.nii.gz"
    touch(file)
    assert error_of(file) == (
        f"{file} is neither a folder nor a manifest CSV.",
        "Give single images as t1=FILE,t1c=FILE and so on.",
    )


def test_two_cases_of_one_name_are_refused(tmp_path: Path) -> None:
    first, second = (tmp_path / site / "p1" / "t1.nii" for site in ("bonn", "köln"))
    touch(first, second)
    assert error_of(tmp_path) == (
        f"Two cases have the name 'p1': one has {first}, the other {second}.",
        "Rename one, or list the cases in a manifest CSV.",
    )


# Selecting


def test_select_keeps_the_named_cases_and_refuses_unknown_ones(tmp_path: Path) -> None:
    for name in ("Brats18_2013_2_1", "Brats18_2013_3_1", "Brats18_2013_4_1"):
        make_brats(tmp_path / name)
    dataset = find_cases(tmp_path)
    chosen = dataset.select(["Brats18_2013_4_1", "Brats18_2013_2_1"])
    assert chosen == Dataset(tmp_path, "brats", (dataset.cases[0], dataset.cases[2]), GLIOMA)
    with pytest.raises(InputError, match=r"has no case x, y\. Check the names\.") as caught:
        dataset.select(["y", "Brats18_2013_2_1", "x"])
    assert caught.value.cause == f"{tmp_path} has no case x, y."


# The argument CASE of the command


def test_a_case_is_given_file_by_file(tmp_path: Path) -> None:
    folder = tmp_path / "a, b und ç"
    t1, t1c, label = folder / "Zoë 7_t1.nii.gz", folder / "Zoë 7_T1ce.nii.gz", folder / "Zoë 7_seg.nii.gz"
    touch(t1, t1c, label)
    dataset = parse_case(f"t1={t1}, T1ce={t1c},label={label}")
    assert (dataset.root, dataset.layout, dataset.scheme) == (folder, "files", None)
    (case,) = dataset.cases
    assert (case.name, case.channels, case.label) == ("Zoë 7", {"t1": t1, "t1c": t1c}, label)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("t1=p07/t1.nii,flair=p07/flair.nii", "p07"),
        ("t1=p07/t1.nii,flair=p07/flair.nii,name=Fall 7", "Fall 7"),
        ("t1=t1/x9.nii,flair=flair/x9.nii", "x9"),
        ("flair=p07/x9_flair.nii", "x9"),
        ("t1=p07/a.nii,t1c=p07/b.nii", "p07"),
    ],
)
def test_a_case_is_named_after_what_its_files_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    touch(*(Path(pair.split("=")[1]) for pair in text.split(",") if not pair.startswith("name")))
    assert [case.name for case in parse_case(text).cases] == [name]


@pytest.mark.skipif(os.name == "nt", reason="elsewhere such names are plain file names, which shows the parsing")
def test_paths_of_windows_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    t1, flair = Path(r"C:\data, old\p07\t1.nii.gz"), Path(r"D:\p07\flair.nii.gz")
    touch(t1, flair)
    (case,) = parse_case(rf"t1={t1},flair={flair},name=p07").cases
    assert case.channels == {"t1": t1, "flair": flair}
    touch(Path(r"C:\p08\t1.nii"), Path(r"C:\p08\t2.nii"))
    assert parse_case(r"t1=C:\p08\t1.nii,t2=C:\p08\t2.nii").cases[0].name == "p08"


def test_a_folder_is_a_case_too_even_with_an_equals_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "run=3" / "t1.nii")
    monkeypatch.chdir(tmp_path)
    assert parse_case("run=3") == parse_case(str(tmp_path / "run=3")) == find_cases("run=3")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("t1=no.nii", "In 't1=no.nii', no.nii does not exist. Check the path."),
        ("t1=", "In 't1=' a file is missing after '='. Write the key and its file, for instance t1=FILE."),
        ("label=a.nii", "'label=a.nii' has no image. Give at least one channel, for instance t1=FILE."),
        (
            "t1=a.nii,t1w=b.nii",
            "Case 't1=a.nii,t1w=b.nii' has two files for 't1': a.nii and b.nii. "
            "Keep one, give each case a folder of its own, or list the cases in a manifest CSV.",
        ),
    ],
)
def test_a_wrong_case_argument_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    touch(Path("a.nii"), Path("b.nii"))
    with pytest.raises(InputError) as caught:
        parse_case(text)
    assert str(caught.value) == message
