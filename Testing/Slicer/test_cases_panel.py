"""The table of cases as a user meets it: where cases come from, what their labels mean, and what is said of them."""

import json
from contextlib import contextmanager
from dataclasses import replace

import pytest
import slicer
from scenes import CHANNELS, addPatient, addSegmentation, addVolume, affine, distances, openModule, waitFor
from SlicerHost import faults
from TransferSegBridge.annotated import assignRoles, loadCases, storeCases
from TransferSegBridge.case_writer import CaseWriter
from TransferSegBridge.channels import PREDICTION
from TransferSegBridge.preview import Preview

from TransferSegLib.errors import InputError
from TransferSegLib.labels import GLIOMA, LESION, LabelScheme

INFARCT = {"background": 0, "core": 1, "penumbra": 2}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERSEG_HOME", str(tmp_path / "home"))


@pytest.fixture
def widget():
    return openModule()


@pytest.fixture
def parameters(widget):
    return widget.logic.getParameterNode()


@pytest.fixture
def panel(widget, parameters):
    return widget.finetunePanel


@pytest.fixture
def nnunet(tmp_path):
    """A dataset that tells what its labels mean."""
    return makeNnunet(tmp_path / "infarcts", INFARCT)


@pytest.fixture
def plain(tmp_path):
    """A dataset that does not."""
    folder = tmp_path / "plain" / "q"
    folder.mkdir(parents=True)
    for end in (*CHANNELS, "seg", "brainmask"):
        (folder / f"q_{end}.nii.gz").touch()
    return folder.parent


def makeNnunet(root, labels):
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    about = {"channel_names": dict(enumerate(CHANNELS)), "labels": labels, "numTraining": 1, "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps(about))
    for number in range(len(CHANNELS)):
        (root / "imagesTr" / f"{root.name}_000{number}.nii.gz").touch()
    (root / "labelsTr" / f"{root.name}.nii.gz").touch()
    return root


def addCase(panel, name="P", segment="lesion"):
    """A patient in the scene and in the table; the segmentation."""
    node = addSegmentation(f"{name} seg", addPatient(name)["flair"], segment=segment)
    panel.addFromScene()
    return node


def tip(panel, row):
    return panel.ui.casesTable.item(row, 0).toolTip()


def wrong(panel):
    """The rows that cannot be learned from."""
    request = panel.request()
    return [case.name for case in request.cases if case.problem(request.channels, request.scheme)]


class TestWhatLabelMapsOnDiskMean:
    def test_first_folder_tells_the_classes_and_loaded_cases_are_guessed_anew(self, panel, parameters, nnunet):
        parameters.scheme = "lesion"
        addCase(panel, segment="core")
        storeCases(parameters, [replace(loadCases(parameters)[0], classes={"core": ""})])
        panel.addFolder(str(nnunet))
        assert panel.request().scheme.names == tuple(INFARCT)
        assert panel.request().cases[0].classes == {"core": "core"}
        assert not wrong(panel)

    def test_second_folder_with_other_classes_leaves_those_of_the_first(self, panel, parameters, nnunet, tmp_path):
        panel.addFolder(str(nnunet))
        other = makeNnunet(tmp_path / "bleedings", {"background": 0, "bleeding": 1})
        panel.addFolder(str(other))
        assert panel.request().scheme.names == tuple(INFARCT)
        assert wrong(panel) == ["bleedings"]
        assert "Its label map has the classes bleeding: choose these under Classes" in tip(panel, 1)

    def test_classes_that_make_a_red_row_good_can_be_chosen(self, panel, parameters, nnunet, tmp_path):
        panel.addFolder(str(nnunet))
        panel.addFolder(str(makeNnunet(tmp_path / "bleedings", {"background": 0, "bleeding": 1})))
        combo = panel.ui.schemeCombo
        combo.setCurrentIndex(combo.findData(loadCases(parameters)[1].scheme))
        assert panel.request().scheme.names == ("background", "bleeding")
        assert wrong(panel) == ["infarcts"]

    def test_same_names_with_other_values_are_not_the_same(self, panel, nnunet, tmp_path):
        panel.addFolder(str(nnunet))
        panel.addFolder(str(makeNnunet(tmp_path / "turned", {"background": 0, "core": 2, "penumbra": 1})))
        assert wrong(panel) == ["turned"]
        assert "penumbra = 1, core = 2" in tip(panel, 1)
        texts = [panel.ui.schemeCombo.itemText(row) for row in range(panel.ui.schemeCombo.count)]
        assert len(set(texts)) == len(texts)

    def test_colors_do_not_matter(self, panel, nnunet):
        panel.addFolder(str(nnunet))
        request = panel.request()
        white = [replace(item, color=(255, 255, 255)) for item in request.scheme.classes]
        scheme = LabelScheme("other", tuple(white), request.scheme.regions)
        assert request.cases[0].problem(CHANNELS, scheme) == ""

    def test_folder_that_tells_no_classes_does_not_go_with_one_that_does(self, panel, parameters, nnunet, plain):
        panel.addFolder(str(nnunet))
        before = parameters.cases, parameters.scheme
        with pytest.raises(InputError, match=r"dataset\.json"):
            panel.addFolder(str(plain))
        assert (parameters.cases, parameters.scheme) == before

    def test_nor_the_other_way_round_unless_it_has_the_chosen_classes(self, panel, parameters, nnunet, plain, tmp_path):
        parameters.scheme = "lesion"
        panel.addFolder(str(plain))
        before = parameters.cases, parameters.scheme
        with pytest.raises(InputError, match="first"):
            panel.addFolder(str(nnunet))
        assert (parameters.cases, parameters.scheme) == before
        assert panel.addFolder(str(makeNnunet(tmp_path / "same", {"background": 0, "lesion": 1}))) == 1
        assert not wrong(panel)

    def test_numbers_have_no_names(self, panel, parameters, plain):
        addCase(panel)
        panel.addFolder(str(plain))
        parameters.scheme = "segments"
        assert wrong(panel) == ["q"]
        assert "numbers, not names" in tip(panel, 1)
        assert "numbers, not names" in panel.ui.finetuneButton.toolTip

    def test_brain_mask_of_a_dataset_goes_along(self, panel, parameters, plain, tmp_path):
        parameters.scheme = "lesion"
        panel.addFolder(str(plain))
        (case,) = panel.request().cases
        mask = plain / "q" / "q_brainmask.nii.gz"
        written = []
        outcomes = []
        writer = CaseWriter(
            tmp_path / "run",
            [case],
            CHANNELS,
            LESION,
            onFinished=outcomes.append,
            onWritten=lambda *it: written.append(it),
        )
        writer.start()
        waitFor(lambda: outcomes)
        assert written[0][1].brain == mask
        assert str(mask) in (tmp_path / "run" / "cases.csv").read_text()
        mask.unlink()
        assert "brainmask" in case.problem(CHANNELS, LESION)


class TestWhatSegmentsMean:
    def test_segment_that_was_renamed_or_drawn_later_is_learned_too(self, panel, parameters):
        parameters.scheme = "glioma"
        segmentation = addCase(panel, segment="Segment_1").GetSegmentation()
        assert wrong(panel) == ["P"]
        segmentation.GetSegment("Segment_1").SetName("edema")
        segmentation.AddEmptySegment("new", "necrosis")
        assert panel.request().cases[0].classes == {"Segment_1": "edema", "new": "necrotic"}
        panel.update()
        assert panel.ui.finetuneButton.enabled

    def test_segment_that_is_not_used_stays_unused_and_is_named(self, panel, parameters):
        parameters.scheme = "glioma"
        segmentation = addCase(panel, segment="edema").GetSegmentation()
        segmentation.AddEmptySegment("et", "enhancing")
        panel.update()
        panel.ui.casesTable.selectRow(0)
        combo = panel.ui.classesTable.cellWidget(1, 1)
        assert combo.currentText == "enhancing"
        combo.setCurrentIndex(0)
        assert loadCases(parameters)[0].classes == {"et": ""}
        assert panel.request().cases[0].classes == {"edema": "edema", "et": ""}
        assert "Not used: enhancing." in tip(panel, 0)

    def test_own_names_follow_the_segments(self, panel, parameters):
        parameters.scheme = "segments"
        segmentation = addCase(panel, segment="infarct").GetSegmentation()
        segmentation.GetSegment("infarct").SetName("stroke")
        request = panel.request()
        assert request.scheme.names == ("background", "stroke")
        assert request.cases[0].classes == {"infarct": "stroke"}

    @pytest.mark.parametrize("name", ["background", "Background"])
    def test_background_is_no_class(self, panel, parameters, name):
        parameters.scheme = "segments"
        addCase(panel, segment="stroke").GetSegmentation().AddEmptySegment("b", name)
        panel.update()
        assert panel.request().scheme.names == ("background", "stroke")
        assert panel.ui.finetuneButton.enabled
        assert f"Not used: {name}." in tip(panel, 0)

    def test_more_names_than_codes_are_a_problem_and_no_error(self, panel, parameters):
        parameters.scheme = "segments"
        segmentation = addCase(panel).GetSegmentation()
        for number in range(255):
            segmentation.AddEmptySegment(str(number), f"part {number}")
        panel.update()
        assert "256 different names" in panel.ui.finetuneButton.toolTip

    def test_what_goes_wrong_with_a_click_is_shown(self, panel, parameters, monkeypatch):
        addCase(panel)
        parameters.scheme = "lesion"
        shown = []

        @contextmanager
        def display(message):
            try:
                yield
            except Exception as error:
                shown.append((message, str(error)))
                raise

        def fail():
            raise InputError("No.", "")

        monkeypatch.setattr(slicer.util, "tryWithErrorDisplay", display)
        monkeypatch.setattr(panel, "request", fail)
        with faults.expected():
            panel.ui.finetuneButton.click()
        assert [message for message, _error in shown] == ["The fine-tuning could not start."]

    def test_corrected_result_of_a_network_is_pointed_at(self, panel, parameters):
        parameters.scheme = "lesion"
        nodes = addPatient("P")
        addSegmentation("corrected", nodes["flair"]).SetAttribute(PREDICTION, "1")
        addPatient("Q")
        panel.addFromScene()
        assert tip(panel, 0).startswith("'corrected' was drawn by a network")
        assert tip(panel, 1) == "It has no segmentation."


class TestPatients:
    def study(self, patient, name, volumes):
        tree = slicer.mrmlScene.GetSubjectHierarchyNode()
        scene = tree.GetSceneItemID()
        above = tree.GetItemChildWithName(scene, patient) or tree.CreateSubjectItem(scene, patient)
        item = tree.CreateStudyItem(above, name)
        for node in volumes:
            tree.SetItemParent(tree.GetItemByDataNode(node), item)

    def test_two_visits_of_a_patient_stand_on_one_side(self, panel, parameters):
        parameters.scheme = "lesion"
        for patient in ("Ann", "Bob", "Eve"):
            for year in ("2023", "2024"):
                nodes = addPatient(f"{patient}{year}")
                addSegmentation(f"{patient}{year} seg", nodes["flair"])
                self.study(patient, year, nodes.values())
        assert panel.addFromScene() == 6
        assert [case.patient for case in loadCases(parameters)] == ["Ann", "Ann", "Bob", "Bob", "Eve", "Eve"]
        sides = {}
        for case in assignRoles(panel.request().cases):
            sides.setdefault(case.patient, set()).add(case.role)
        assert sorted(map(sorted, sides.values())) == [["test"], ["train"], ["validate"]]

    def test_images_chosen_by_hand_tell_the_patient(self, panel, parameters):
        nodes = addPatient("x")
        self.study("Ann", "2024", nodes.values())
        panel.ui.newCaseButton.click()
        panel.table._selectors["flair"].setCurrentNode(nodes["flair"])
        panel.table._nodeChosen("flair", nodes["flair"])
        assert loadCases(parameters)[0].patient == "Ann"


class TestPreview:
    def event(self, folder, case):
        from TransferSegLib.grid import Grid
        from TransferSegLib.volume import Volume, write_volume

        labels = (distances((20, 10, 5)) < 16).astype("uint8")
        write_volume(Volume(labels, Grid(labels.shape, affine())), folder / "preview.nii")
        return {"case": case, "file": str(folder / "preview.nii"), "epoch": 1}

    def test_it_has_the_classes_of_the_run(self, panel, parameters, tmp_path):
        parameters.scheme = "lesion"
        addCase(panel)
        preview = Preview()
        preview.begin(loadCases(parameters), LESION)
        parameters.scheme = "glioma"
        preview.show(self.event(tmp_path, "P"))
        assert preview.segmentation.GetSegmentation().GetSegmentIDs() == ("lesion",)

    def test_it_is_lines_over_the_reference_until_the_user_wants_it_otherwise(self, panel, parameters, tmp_path):
        addCase(panel)
        preview = Preview()
        preview.begin(loadCases(parameters), GLIOMA)
        preview.show(self.event(tmp_path, "P"))
        display = preview.segmentation.GetDisplayNode()
        assert not display.GetVisibility2DFill()
        assert display.GetVisibility2DOutline()
        assert display.GetSliceIntersectionThickness() == 3
        display.SetVisibility2DFill(True)
        preview.show(self.event(tmp_path, "P"))
        assert display.GetVisibility2DFill()

    def test_it_is_not_shown_on_another_patient_with_the_same_ids(self, panel, parameters, tmp_path):
        addCase(panel)
        preview = Preview()
        preview.begin(loadCases(parameters), GLIOMA)
        identifier = loadCases(parameters)[0].images["flair"]
        slicer.mrmlScene.Clear(0)
        while slicer.mrmlScene.GetNodeByID(identifier) is None:
            addVolume("other", distances((0, 0, 0)), affine())
        preview.show(self.event(tmp_path, "P"))
        assert preview.segmentation is None
