"""The panels, as a user meets them: what can be pressed, what is said, and what the scene keeps."""

import re
from pathlib import Path

import pytest
import slicer
from scenes import CHANNELS, addPatient, addSegmentation, openModule, undoable, waitFor
from TransferSegBridge.annotated import loadCases
from TransferSegBridge.parameters import channelNode, setChannelNode
from TransferSegBridge.runfolder import RunFolder, unfinishedRuns


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERSEG_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def widget():
    """The module's panel, as after a click on the module."""
    shown = openModule()
    yield shown
    for job in (shown.segmentPanel.job, shown.finetunePanel.job):
        if job is not None and job.running:
            job.stop()
            waitFor(lambda job=job: not job.running)
    shown.finetunePanel.job = shown.segmentPanel.job = None
    shown.finetunePanel.refreshRuns()


@pytest.fixture
def parameters(widget):
    return widget.logic.getParameterNode()


@pytest.fixture
def byHand(tmp_path, widget):
    """The name of an installed model that calls a lesion what is brighter than 725 in FLAIR."""
    from hand_model import threshold_model

    from TransferSegLib.model import save_model

    return widget.modelsPanel.importModel(
        str(save_model(threshold_model(channels=CHANNELS, level=725.0), tmp_path / "m"))
    )


def choose(parameters, nodes):
    for channel, node in nodes.items():
        setChannelNode(parameters, channel, node)


class TestSegment:
    def test_button_says_what_is_missing_until_nothing_is(self, widget, parameters):
        ui = widget.segmentPanel.ui
        assert not ui.segmentButton.enabled
        assert "t1" in ui.segmentButton.toolTip
        nodes = addPatient("a")
        choose(parameters, {channel: nodes[channel] for channel in ("t1", "t1c", "t2")})
        assert not ui.segmentButton.enabled
        assert "flair" in ui.segmentButton.toolTip
        choose(parameters, nodes)
        assert ui.segmentButton.enabled

    def test_removing_a_volume_takes_the_button_back(self, widget, parameters):
        nodes = addPatient("a")
        choose(parameters, nodes)
        slicer.mrmlScene.RemoveNode(nodes["t2"])
        assert not widget.segmentPanel.ui.segmentButton.enabled
        assert "t2" in widget.segmentPanel.ui.segmentButton.toolTip

    def test_volumes_are_found_by_name_and_those_chosen_stay(self, widget, parameters):
        nodes, other = addPatient("a"), addPatient("b")
        setChannelNode(parameters, "flair", other["flair"])
        widget.segmentPanel.ui.fillButton.click()
        assert channelNode(parameters, "flair") is other["flair"]
        assert all(channelNode(parameters, channel) is not None for channel in CHANNELS)
        assert nodes

    def test_click_segments_and_shows_result_and_table(self, widget, parameters, byHand):
        parameters.model = byHand
        choose(parameters, addPatient("a"))
        panel = widget.segmentPanel
        panel.ui.segmentButton.click()
        assert panel.ui.segmentButton.text == "Cancel"
        waitFor(lambda: not panel.job.running)
        assert panel.ui.segmentButton.text == "Segment"
        assert parameters.outputSegmentation.GetSegmentation().GetSegmentIDs() == ("lesion",)
        assert panel.ui.volumesTableView.mrmlTableNode() is parameters.volumesTable
        assert "Done" in panel.ui.segmentStatus.text

    def test_second_click_cancels(self, widget, parameters, byHand):
        parameters.model = byHand
        choose(parameters, addPatient("a"))
        panel = widget.segmentPanel
        panel.ui.segmentButton.click()
        panel.ui.segmentButton.click()
        assert not panel.ui.segmentButton.enabled
        waitFor(lambda: not panel.job.running)
        assert "Canceled" in panel.ui.segmentStatus.text
        assert panel.ui.segmentButton.enabled
        assert parameters.outputSegmentation is None

    def test_model_with_other_channels_asks_for_these(self, widget, parameters, tmp_path):
        from hand_model import threshold_model

        from TransferSegLib.model import save_model

        path = save_model(threshold_model(channels=("t1", "flair")), tmp_path / "two")
        parameters.model = widget.modelsPanel.importModel(str(path), "two-channels")
        assert list(widget.segmentPanel._selectors) == ["t1", "flair"]

    def test_search_hides_other_models(self, widget, byHand):
        picker = widget.segmentPanel.picker
        picker.search.setText("by-hand")
        rows = list(picker.entries)
        assert [rows[row] for row in range(picker.list.count) if not picker.list.item(row).isHidden()] == [byHand]
        picker.search.setText("")

    def test_sample_is_made_loaded_and_chosen(self, widget, parameters):
        panel = widget.segmentPanel
        parameters.outputSegmentation = addSegmentation("of another patient", addPatient("a")["flair"])
        panel.ui.sampleButton.click()
        waitFor(lambda: not panel._sampleJob.running)
        assert parameters.outputSegmentation is None
        assert {channelNode(parameters, channel).GetName() for channel in CHANNELS} == {
            f"TransferSegSample {c}" for c in CHANNELS
        }
        assert panel.ui.segmentButton.enabled

    def test_sample_waits_until_nothing_runs(self, widget, parameters, byHand):
        parameters.model = byHand
        choose(parameters, addPatient("a"))
        panel = widget.segmentPanel
        tip = panel.ui.sampleButton.toolTip
        panel.ui.segmentButton.click()
        assert not panel.ui.sampleButton.enabled
        assert "Wait" in panel.ui.sampleButton.toolTip
        panel.loadSample()
        assert panel._sampleJob is None or not panel._sampleJob.running
        waitFor(lambda: not panel.job.running)
        assert panel.job.result.outcome.ok
        assert panel.ui.sampleButton.enabled
        assert panel.ui.sampleButton.toolTip == tip


class TestSceneKeepsChoices:
    def test_scene_saved_and_loaded_has_the_same_choices(self, widget, parameters, tmp_path):
        nodes = addPatient("a")
        choose(parameters, nodes)
        parameters.epochs, parameters.mirror = 17, True
        path = str(tmp_path / "scene.mrb")
        assert slicer.util.saveScene(path)
        slicer.mrmlScene.Clear(0)
        assert widget.logic.getParameterNode().epochs == 100
        slicer.util.loadScene(path)
        loaded = widget.logic.getParameterNode()
        assert (loaded.epochs, loaded.mirror) == (17, True)
        assert {channel: channelNode(loaded, channel).GetName() for channel in CHANNELS} == {
            c: f"a_{c}" for c in CHANNELS
        }
        assert widget.finetunePanel.ui.epochsSpin.value == 17
        assert widget.segmentPanel._selectors["t2"].currentNode().GetName() == "a_t2"

    def test_panel_is_right_after_the_scene_was_closed(self, widget, parameters):
        choose(parameters, addPatient("a"))
        slicer.mrmlScene.Clear(0)
        assert widget.segmentPanel._selectors["t1"].currentNode() is None
        assert not widget.segmentPanel.ui.segmentButton.enabled
        choose(widget.logic.getParameterNode(), addPatient("b"))
        assert widget.segmentPanel.ui.segmentButton.enabled

    def test_panel_is_right_after_the_module_was_reloaded(self, widget, parameters):
        nodes = addPatient("a")
        choose(parameters, nodes)
        slicer.util.reloadScriptedModule("TransferSeg")
        again = slicer.modules.TransferSegWidget
        assert again is not widget
        assert again.segmentPanel._selectors["t1"].currentNode() is nodes["t1"]
        assert again.segmentPanel.ui.segmentButton.enabled

    def test_undo_of_a_deleted_volume_brings_it_back_into_the_panel(self, widget, parameters):
        undoable()
        nodes = addPatient("a")
        for node in nodes.values():
            node.UndoEnabledOn()
        choose(parameters, nodes)
        slicer.mrmlScene.SaveStateForUndo()
        slicer.mrmlScene.RemoveNode(nodes["t2"])
        assert not widget.segmentPanel.ui.segmentButton.enabled
        slicer.mrmlScene.Undo()
        slicer.app.processEvents()
        assert channelNode(parameters, "t2") is not None
        assert "Segment the volumes" in widget.segmentPanel.ui.segmentButton.toolTip
        slicer.mrmlScene.SetUndoOff()


class TestFinetune:
    def addCases(self, widget, parameters, count=3):
        parameters.scheme = "lesion"
        for number in range(count):
            nodes = addPatient(f"P{number}", seed=number)
            addSegmentation(f"P{number} seg", nodes["flair"])
        return widget.finetunePanel.addFromScene()

    def test_patients_of_the_scene_become_cases_with_their_segmentations(self, widget, parameters):
        assert self.addCases(widget, parameters) == 3
        cases = loadCases(parameters)
        assert [slicer.mrmlScene.GetNodeByID(case.label).GetName() for case in cases] == ["P0 seg", "P1 seg", "P2 seg"]
        assert all(case.classes == {"lesion": "lesion"} for case in widget.finetunePanel.request().cases)
        assert widget.finetunePanel.ui.finetuneButton.enabled
        assert widget.finetunePanel.addFromScene() == 0

    def test_button_says_what_is_missing(self, widget, parameters):
        ui = widget.finetunePanel.ui
        assert "Add annotated cases." in ui.finetuneButton.toolTip
        self.addCases(widget, parameters)
        parameters.runName = "Not A Name"
        assert not ui.finetuneButton.enabled
        assert "lower-case" in ui.finetuneButton.toolTip

    def test_problem_of_a_case_stands_in_its_row(self, widget, parameters):
        self.addCases(widget, parameters)
        slicer.mrmlScene.RemoveNode(slicer.util.getNode("P1_t2"))
        table = widget.finetunePanel.ui.casesTable
        assert "t2" in table.item(1, 0).toolTip()
        assert "P1" in widget.finetunePanel.ui.finetuneButton.toolTip

    def test_role_chosen_in_the_table_is_kept(self, widget, parameters):
        self.addCases(widget, parameters)
        widget.finetunePanel.ui.casesTable.cellWidget(1, 3).setCurrentIndex(3)
        assert [case.role for case in loadCases(parameters)] == ["auto", "test", "auto"]

    def test_new_name_of_a_case_is_kept_and_unique(self, widget, parameters):
        self.addCases(widget, parameters)
        widget.finetunePanel.ui.casesTable.item(1, 0).setText("P0")
        assert [case.name for case in loadCases(parameters)] == ["P0", "P0 2", "P2"]

    def test_segment_can_be_given_another_class(self, widget, parameters):
        nodes = addPatient("a")
        addSegmentation("a seg", nodes["flair"], segment="thing")
        parameters.scheme = "glioma"
        widget.finetunePanel.addFromScene()
        ui = widget.finetunePanel.ui
        assert not ui.finetuneButton.enabled
        ui.casesTable.selectRow(0)
        combo = ui.classesTable.cellWidget(0, 1)
        combo.setCurrentIndex(combo.findData("edema"))
        assert loadCases(parameters)[0].classes == {"thing": "edema"}
        assert ui.finetuneButton.enabled

    def test_own_segments_become_the_classes(self, widget, parameters):
        nodes = addPatient("a")
        addSegmentation("a seg", nodes["flair"], segment="infarct")
        widget.finetunePanel.ui.schemeCombo.setCurrentIndex(widget.finetunePanel.ui.schemeCombo.findData("segments"))
        widget.finetunePanel.addFromScene()
        assert widget.finetunePanel.request().scheme.names == ("background", "infarct")

    def test_folder_adds_cases_without_loading_them(self, widget, parameters, tmp_path):
        from TransferSegLib.simulate import simulate_dataset

        simulate_dataset("glioma", tmp_path / "data", 2, 0, 6.0)
        assert widget.finetunePanel.addFolder(str(tmp_path / "data")) == 2
        assert slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") == []
        assert parameters.scheme == "glioma"
        assert widget.finetunePanel.ui.finetuneButton.enabled
        assert widget.finetunePanel.addFolder(str(tmp_path / "data")) == 0

    def test_strategy_tells_how_much_it_trains(self, widget, parameters):
        parameters.strategy, parameters.scheme = "last-three", "glioma"
        assert "1,324 of 101,048" in widget.finetunePanel.ui.strategyLabel.text

    def test_training_shows_curves_preview_and_scores_and_offers_the_model(self, widget, parameters):
        self.addCases(widget, parameters)
        parameters.epochs, parameters.spacing, parameters.runName = 3, 4.0, "mine"
        panel = widget.finetunePanel
        previews = []
        panel._preview.show = lambda event, show=panel._preview.show: (previews.append(event), show(event))
        panel.ui.finetuneButton.click()
        assert panel.ui.finetuneButton.text == "Pause"
        waitFor(lambda: not panel.job.running)
        del panel._preview.show
        table = panel.curves["all"].table.GetTable()
        assert table.GetNumberOfRows() == 3
        assert [table.GetColumnName(number) for number in range(table.GetNumberOfColumns())] == [
            "epoch",
            "loss",
            "dice_lesion",
            "pr_auc",
        ]
        assert panel.ui.curvesButton.enabled
        assert previews
        assert "mine" in widget.segmentPanel.picker.entries
        assert parameters.scoresTable is not None
        assert "Held-out cases: 1." in panel.ui.scoresLabel.text
        assert "hint" in panel.ui.scoresLabel.text

    def test_paused_run_is_offered_to_go_on(self, widget, parameters):
        self.addCases(widget, parameters)
        parameters.epochs, parameters.spacing, parameters.runName = 60, 4.0, "long"
        panel = widget.finetunePanel
        panel.ui.finetuneButton.click()
        waitFor(lambda: panel.curves)
        panel.ui.finetuneButton.click()
        waitFor(lambda: not panel.job.running)
        assert [run.name for run in unfinishedRuns()] == ["long"]
        assert panel.ui.resumeButton.enabled
        assert panel.ui.keepButton.enabled
        panel.ui.keepButton.click()
        assert "long" in widget.modelsPanel.picker.entries
        panel.ui.resumeButton.click()
        assert panel.ui.finetuneButton.text == "Pause"
        panel.ui.finetuneButton.click()
        waitFor(lambda: not panel.job.running)

    def test_pause_before_anything_was_trained_promises_nothing(self, widget, parameters):
        self.addCases(widget, parameters)
        panel = widget.finetunePanel
        panel.ui.finetuneButton.click()
        panel.ui.finetuneButton.click()
        waitFor(lambda: not panel.job.running)
        assert panel.ui.finetuneStatus.text == "Stopped; nothing was trained yet."
        assert not panel.ui.folderButton.enabled
        assert unfinishedRuns() == []

    def test_run_that_another_slicer_works_on_is_left_alone(self, widget, home):
        from TransferSegLib.lock import hold

        for name in ("first", "second"):
            (home / "runs" / name).mkdir(parents=True)
            RunFolder(home / "runs" / name, name, "ms-lesion-fast", ("all", "scratch"), {}, {}).save()
        panel, ui = widget.finetunePanel, widget.finetunePanel.ui
        buttons = ui.resumeButton, ui.keepButton, ui.deleteRunButton
        panel.refreshRuns()
        with hold(home / "runs" / "first" / "scratch"):
            ui.deleteRunButton.click()  # the list does not know yet
            assert (home / "runs" / "first").exists()
            assert ui.runsCombo.itemText(0) == "first: all, scratch (at work in another Slicer)"
            assert [button.enabled for button in buttons] == [False, False, False]
            assert all("Another Slicer is at work" in button.toolTip for button in buttons)
            ui.runsCombo.setCurrentIndex(1)
            assert ui.resumeButton.enabled
            panel.refreshRuns()
            assert ui.runsCombo.currentIndex == 1
        ui.runsCombo.setCurrentIndex(0)
        widget.enter()
        assert ui.runsCombo.itemText(0) == "first: all, scratch"
        assert ui.resumeButton.enabled


class TestModels:
    def test_panels_begin_with_the_models_of_2_mm_that_suit_any_machine(self, parameters):
        assert (parameters.model, parameters.source) == ("glioma-fast", "ms-lesion-fast")

    def test_shipped_model_cannot_be_deleted_and_says_why(self, widget):
        panel = widget.modelsPanel
        panel.picker.select("ms-lesion-fast")
        panel.update()
        assert not panel.ui.deleteButton.enabled
        assert "comes with TransferSeg" in panel.ui.deleteButton.toolTip
        assert panel.ui.exportButton.enabled

    def test_model_goes_round_export_import_rename_delete(self, widget, tmp_path):
        panel = widget.modelsPanel
        panel.picker.select("ms-lesion-fast")
        written = panel.exportModel(str(tmp_path / "given away é.zip"))
        assert panel.importModel(written, "copy") == "copy"
        panel.renameModel("other")
        assert panel.picker.name == "other"
        assert "other" in widget.segmentPanel.picker.entries
        panel.deleteModel()
        assert "other" not in widget.segmentPanel.picker.entries

    def test_card_is_shown(self, widget):
        widget.modelsPanel.picker.select("ms-lesion-fast")
        assert "Lesjak" in widget.modelsPanel.picker.card.plainText

    def test_damaged_model_is_listed_with_the_reason(self, widget, home):
        folder = home / "models" / "broken"
        folder.mkdir(parents=True)
        (folder / "model.json").write_text("{}")
        widget.refreshModels()
        panel = widget.modelsPanel
        panel.picker.select("broken")
        panel.update()
        assert "has no weights" in panel.picker.card.plainText
        assert not panel.ui.exportButton.enabled
        assert panel.ui.deleteButton.enabled

    def test_verify_checks_in_the_background(self, widget):
        panel = widget.modelsPanel
        panel.picker.select("ms-lesion-fast")
        panel.update()
        panel.ui.verifyButton.click()
        waitFor(lambda: not panel._worker.running)
        assert "in order" in panel.ui.modelsStatus.text


def test_every_binding_of_a_ui_file_is_a_parameter(widget, parameters):
    texts = [path.read_text() for path in Path(widget.resourcePath("UI")).glob("*.ui")]
    names = [name for text in texts for name in re.findall(r'SlicerParameterName"[^>]*><string[^>]*>(\w+)<', text)]
    assert names
    assert [name for name in names if not hasattr(parameters, name)] == []


def test_deleted_segmentation_is_not_replaced_by_another_one_as_the_target(widget, parameters):
    nodes = addPatient("a")
    mine, other = addSegmentation("mine", nodes["flair"]), addSegmentation("other", nodes["flair"])
    widget.segmentPanel.ui.outputSelector.setCurrentNode(mine)
    assert parameters.outputSegmentation is mine
    slicer.mrmlScene.RemoveNode(mine)
    assert parameters.outputSegmentation is None
    assert widget.segmentPanel.ui.outputSelector.currentNode() is None
    assert other is not None


def test_result_of_a_network_is_not_offered_to_learn_from(widget, parameters, byHand):
    nodes = addPatient("a")
    widget.logic.segment(nodes, byHand)
    parameters.scheme = "lesion"
    widget.finetunePanel.addFromScene()
    assert [case.label for case in loadCases(parameters)] == [""]
    own = addSegmentation("by a person", nodes["flair"])
    widget.finetunePanel._setCases([])
    widget.finetunePanel.addFromScene()
    assert [case.label for case in loadCases(parameters)] == [own.GetID()]


def test_loaded_volumes_are_chosen_when_the_module_is_opened(widget, parameters):
    nodes = addPatient("a")
    widget.enter()
    assert {channel: channelNode(parameters, channel) for channel in CHANNELS} == nodes


def test_missing_package_is_said_at_the_top_and_on_the_buttons_and_all_else_works(widget, parameters, monkeypatch):
    from TransferSegBridge.packages import PackageStatus

    missing = PackageStatus(False, "PyTorch is missing.", "Install...")
    for module in ("segment_panel", "finetune_panel"):
        monkeypatch.setattr(f"TransferSegBridge.{module}.status", lambda: missing)
    choose(parameters, addPatient("a"))
    ui = widget.segmentPanel.ui
    assert not ui.segmentButton.enabled
    assert "PyTorch is missing." in ui.segmentButton.toolTip
    widget.modelsPanel.picker.select("ms-lesion-fast")
    assert "Lesjak" in widget.modelsPanel.picker.card.plainText


def test_every_disabled_button_says_why(widget, parameters):
    for panel in (widget.segmentPanel, widget.finetunePanel, widget.modelsPanel):
        panel.update()
        for name, found in vars(panel.ui).items():
            if name.endswith("Button") and hasattr(found, "toolTip") and not found.enabled:
                assert found.toolTip, name


def test_sample_data_module_offers_the_sample(widget):
    import SampleData

    source = SampleData.SampleDataLogic().sourceForSampleName("TransferSegSample")
    nodes = source.customDownloader(source)  # as its button does
    assert len(nodes) == 5
