"""Which strategy to use, as a user of the fine-tune tab meets it: asked, told, chosen, and kept in the scene."""

import shutil
from pathlib import Path

import pytest
import qt
import slicer
from comparisons import ANSWER, Command
from scenes import addPatient, addSegmentation, openModule, waitFor
from TransferSegBridge.comparison import listComparisons, unfinishedComparisons
from TransferSegBridge.parameters import setChannelNode
from TransferSegBridge.sentences import trainingText

from TransferSegLib.errors import DependencyError

LEAN, CANNOT_TELL = ({**ANSWER, "verdict": verdict} for verdict in ("lean", "cannot tell"))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERSEG_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def command(tmp_path, monkeypatch):
    return Command(tmp_path / "command").takePlace(monkeypatch)


@pytest.fixture
def widget(command):
    """The module's panel, as after a click on the module."""
    shown = openModule()
    shown.finetunePanel.refreshRuns()
    yield shown
    shown = slicer.modules.TransferSegWidget
    for job in (shown.finetunePanel.comparison.job, shown.finetunePanel.job, shown.segmentPanel.job):
        if job is not None and job.running:
            job.stop()
            waitFor(lambda job=job: not job.running)
    shown.finetunePanel.comparison.job = shown.finetunePanel.job = shown.segmentPanel.job = None
    shown.finetunePanel.refreshRuns()


@pytest.fixture
def parameters(widget):
    return widget.logic.getParameterNode()


@pytest.fixture
def panel(widget, parameters):
    """The fine-tune tab with four patients, and with a strategy that the comparison will not recommend."""
    addCases(widget, parameters)
    parameters.strategy = "last-three"
    return widget.finetunePanel


def addCases(widget, parameters, count=4):
    parameters.scheme, parameters.spacing, parameters.epochs = "lesion", 4.0, 3
    for number in range(count):
        nodes = addPatient(f"P{number}", seed=number)
        addSegmentation(f"P{number} seg", nodes["flair"])
    return widget.finetunePanel.addFromScene()


def shown(found):
    """Whether a widget would be seen if its tab were."""
    return not found.isHidden()


def ask(panel):
    panel.ui.compareStrategiesButton.click()
    waitFor(lambda: panel.comparison.job.asking)


def begin(panel):
    ask(panel)
    panel.ui.comparisonStartButton.click()


def training(panel):
    return lambda: "Comparing" in panel.ui.comparisonStatus.text


def end(panel):
    waitFor(lambda: not panel.comparison.running)


def compare(panel):
    begin(panel)
    end(panel)


class TestButton:
    def test_it_says_what_is_missing_until_nothing_is(self, widget, parameters):
        ui = widget.finetunePanel.ui
        assert not ui.compareStrategiesButton.enabled
        assert "Add annotated cases." in ui.compareStrategiesButton.toolTip
        addCases(widget, parameters, 3)
        assert not ui.compareStrategiesButton.enabled
        assert "3 annotated patients are too few" in ui.compareStrategiesButton.toolTip
        nodes = addPatient("P3", seed=3)
        addSegmentation("P3 seg", nodes["flair"])
        widget.finetunePanel.addFromScene()
        assert ui.compareStrategiesButton.enabled
        assert "Trains 48 networks" in ui.compareStrategiesButton.toolTip
        assert not shown(ui.comparisonGroup)

    def test_a_name_that_is_taken_does_not_matter(self, panel, parameters):
        parameters.runName = "Not A Name"
        assert not panel.ui.finetuneButton.enabled
        assert panel.ui.compareStrategiesButton.enabled

    def test_missing_package_is_said(self, panel, parameters, monkeypatch):
        from TransferSegBridge.packages import PackageStatus

        missing = PackageStatus(False, "PyTorch is missing.", "Install...")
        monkeypatch.setattr("TransferSegBridge.comparison_view.status", lambda: missing)
        panel.update()
        assert not panel.ui.compareStrategiesButton.enabled
        assert "PyTorch is missing." in panel.ui.compareStrategiesButton.toolTip


class TestQuestion:
    def test_it_is_asked_before_anything_is_trained(self, panel, command):
        ask(panel)
        ui = panel.ui
        assert shown(ui.comparisonGroup)
        assert shown(ui.comparisonAskFrame)
        assert "6 trainings" in ui.comparisonAskLabel.text
        assert "1, 2 and 3 of the 4 patients" in ui.comparisonAskLabel.text
        assert "about 1.5 h" in ui.comparisonAskLabel.text
        assert "fewer than 6 patients" in ui.comparisonAskLabel.text
        assert [call[-1] for call in command.calls if "--dry-run" not in call] == []
        ui.comparisonDeclineButton.click()
        assert not shown(ui.comparisonAskFrame)
        assert not shown(ui.comparisonGroup)
        assert ui.compareStrategiesButton.enabled
        assert ui.compareStrategiesButton.text == "Compare strategies..."

    def test_package_for_figures_is_offered_where_it_is_missing_and_installed_on_demand(self, panel, monkeypatch):
        installed = []
        monkeypatch.setattr("TransferSegBridge.comparison_view.figuresReady", lambda: bool(installed))
        monkeypatch.setattr("TransferSegBridge.comparison_view.installFigures", lambda: installed.append("matplotlib"))
        ask(panel)
        check = panel.ui.comparisonFiguresCheck
        assert shown(check)
        assert installed == []
        panel.ui.comparisonStartButton.click()
        assert installed == ["matplotlib"]
        end(panel)
        panel.update()
        panel.comparison.start(panel.request())  # was found before: nothing is asked
        end(panel)
        assert not shown(check)

    def test_package_for_figures_that_is_not_wanted_or_cannot_be_had_stops_nothing(
        self, panel, parameters, monkeypatch
    ):
        tried = []

        def install():
            tried.append("matplotlib")
            raise DependencyError("No network.")

        monkeypatch.setattr("TransferSegBridge.comparison_view.figuresReady", lambda: False)
        monkeypatch.setattr("TransferSegBridge.comparison_view.installFigures", install)
        ask(panel)
        panel.ui.comparisonFiguresCheck.checked = False
        panel.ui.comparisonStartButton.click()
        end(panel)
        assert tried == []
        panel.ui.comparisonFiguresCheck.checked = True
        parameters.epochs = 4
        compare(panel)
        assert tried == ["matplotlib"]
        assert "Warning: No network." in panel.ui.finetuneLog.plainText
        assert len([known for known in listComparisons() if known.finding]) == 2

    def test_package_for_figures_that_is_there_is_not_offered(self, panel, monkeypatch):
        monkeypatch.setattr("TransferSegBridge.comparison_view.figuresReady", lambda: True)
        ask(panel)
        assert not shown(panel.ui.comparisonFiguresCheck)

    def test_the_button_itself_declines_too(self, panel):
        ask(panel)
        assert panel.ui.compareStrategiesButton.text == "Stop comparing"
        panel.ui.compareStrategiesButton.click()
        assert not panel.comparison.running
        assert not shown(panel.ui.comparisonAskFrame)

    def test_refusal_of_the_command_is_shown_with_its_remedy(self, panel, command):
        command.order(refuse={"kind": "resource", "cause": "Too large.", "remedy": "Use 2 mm."})
        panel.ui.compareStrategiesButton.click()
        end(panel)
        assert panel.ui.comparisonStatus.text == "Too large. Use 2 mm."
        assert shown(panel.ui.comparisonGroup)
        assert not panel.ui.finetuneLogGroup.collapsed
        assert panel.ui.compareStrategiesButton.enabled


class TestProgress:
    def test_it_tells_what_it_does_and_how_long_that_takes(self, panel, command):
        command.order(hold=3)
        begin(panel)
        waitFor(lambda: "left" in panel.ui.comparisonStatus.text and panel.ui.comparisonProgress.value == 300)
        assert panel.ui.comparisonStatus.text == "Comparing, decoder on 3 patients, about 3 min left"
        assert panel.ui.comparisonProgress.maximum == 600
        assert shown(panel.ui.comparisonProgress)
        assert not shown(panel.ui.comparisonAskFrame)

    @pytest.mark.parametrize("name", ["", "prepare", "fold-0/seed-0/n-003"])
    def test_other_names_are_shown_as_they_are(self, name):
        assert trainingText(name) == name

    def test_stopped_it_goes_on_where_it_was(self, panel, command, parameters):
        command.order(hold=2)
        begin(panel)
        waitFor(lambda: panel.ui.comparisonProgress.value == 200)
        panel.ui.compareStrategiesButton.click()
        assert not panel.ui.compareStrategiesButton.enabled
        end(panel)
        assert "What is done is kept" in panel.ui.comparisonStatus.text
        assert "stopped before its end" in panel.ui.comparisonLabel.text
        ask(panel)
        assert "2 are done" in panel.ui.comparisonAskLabel.text
        command.release()
        panel.ui.comparisonStartButton.click()
        end(panel)
        assert parameters.strategy == "decoder"

    def test_stopped_one_is_among_the_stopped_runs(self, widget, panel, command, parameters):
        command.order(hold=2)
        begin(panel)
        waitFor(training(panel))
        assert not shown(panel.ui.runGroup)  # it runs
        panel.ui.compareStrategiesButton.click()
        end(panel)
        slicer.mrmlScene.Clear(0)
        ui = panel.ui
        assert shown(ui.runGroup)
        assert "4 patients" in ui.runsCombo.currentText
        assert ui.resumeButton.enabled
        assert not ui.keepButton.enabled
        assert "no model" in ui.keepButton.toolTip
        command.release()
        ui.resumeButton.click()
        assert not shown(ui.runGroup)
        end(panel)
        assert "Use the strategy decoder" in ui.comparisonLabel.text
        assert unfinishedComparisons() == []

    def test_deleted_one_is_forgotten(self, panel, command, parameters, monkeypatch):
        command.order(hold=2)
        begin(panel)
        waitFor(training(panel))
        panel.ui.compareStrategiesButton.click()
        end(panel)
        monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda *texts: True)
        panel.ui.deleteRunButton.click()
        assert listComparisons() == []
        assert parameters.comparison == ""
        assert not shown(panel.ui.comparisonGroup)


class TestAnswer:
    @pytest.mark.parametrize("answer", [ANSWER, LEAN], ids=["clear", "lean"])
    def test_recommended_strategy_is_chosen_and_said_to_be(self, panel, command, parameters, answer):
        command.order(answer=answer)
        compare(panel)
        ui = panel.ui
        assert parameters.strategy == "decoder"
        assert ui.strategyCombo.currentText == "decoder"
        assert ui.comparisonStatus.text == "Done: 'decoder' is chosen now; it was 'last-three'."
        assert "Use the strategy decoder: its Dice is 0.71." in ui.comparisonLabel.text
        assert "4 patients, from ms-lesion-fast, with 3 epochs" in ui.comparisonLabel.text
        assert "&amp; &lt;likely&gt;" in ui.comparisonLabel.text  # what the command says is no HTML
        assert not shown(ui.comparisonUseButton)
        assert not shown(ui.comparisonProgress)
        assert ui.compareStrategiesButton.text == "Compare strategies..."

    def test_where_it_cannot_tell_the_choice_stays(self, panel, command, parameters):
        command.order(answer=CANNOT_TELL)
        compare(panel)
        assert parameters.strategy == "last-three"
        assert panel.ui.comparisonStatus.text == "Done: no strategy is clearly the best."
        assert not shown(panel.ui.comparisonUseButton)
        assert shown(panel.ui.comparisonReportButton)

    def test_choice_made_meanwhile_stays_and_the_other_is_offered(self, panel, command, parameters):
        command.order(hold=2)
        begin(panel)
        combo = panel.ui.strategyCombo
        combo.setCurrentIndex(combo.findData("norm"))
        command.release()
        end(panel)
        assert parameters.strategy == "norm"
        assert panel.ui.comparisonStatus.text == "Done: 'decoder' is recommended. Your choice, 'norm', stays."
        assert shown(panel.ui.comparisonUseButton)
        assert panel.ui.comparisonUseButton.text == "Use decoder"
        panel.ui.comparisonUseButton.click()
        assert parameters.strategy == "decoder"
        assert not shown(panel.ui.comparisonUseButton)
        assert not shown(panel.ui.comparisonStatus)  # it spoke of the choice that was

    def test_same_choice_made_anew_meanwhile_stays_too(self, panel, command, parameters):
        command.order(hold=2)
        begin(panel)
        combo = panel.ui.strategyCombo
        for name in ("norm", "last-three"):
            combo.setCurrentIndex(combo.findData(name))
        command.release()
        end(panel)
        assert parameters.strategy == "last-three"

    def test_choice_of_another_scene_is_left_alone(self, panel, command, parameters, widget):
        command.order(hold=2)
        begin(panel)
        waitFor(training(panel))
        slicer.mrmlScene.Clear(0)
        widget.logic.getParameterNode().strategy = "last-three"  # as it was
        command.release()
        end(panel)
        assert widget.logic.getParameterNode().strategy == "last-three"
        assert "Use the strategy decoder" in panel.ui.comparisonLabel.text  # after hours it must not be lost

    def test_trainings_that_failed_are_counted(self, panel, command):
        command.order(failed=["fold-1/seed-0/n-003/all/final"])
        compare(panel)
        assert "1 of 6 trainings failed." in panel.ui.comparisonLabel.text
        assert "fold-1/seed-0/n-003/all/final: The memory is full." in panel.ui.finetuneLog.plainText

    def test_report_is_opened_in_the_browser(self, panel, monkeypatch):
        compare(panel)
        opened = []
        monkeypatch.setattr(qt.QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
        panel.ui.comparisonReportButton.click()
        (comparison,) = listComparisons()
        assert [Path(path) for path in opened] == [comparison.finding.report]

    def test_other_cases_than_were_compared_are_noticed(self, panel, parameters):
        compare(panel)
        assert "changed since" not in panel.ui.comparisonLabel.text
        parameters.epochs = 50
        assert "changed since" in panel.ui.comparisonLabel.text

    def test_what_was_found_before_is_told_at_once(self, panel, command, parameters):
        compare(panel)
        parameters.strategy = "all"
        before = len(command.calls)
        panel.ui.compareStrategiesButton.click()
        end(panel)
        assert len(command.calls) == before
        assert parameters.strategy == "decoder"


class TestKeptInTheScene:
    def test_scene_saved_and_loaded_shows_it_again(self, widget, panel, parameters, tmp_path):
        compare(panel)
        path = str(tmp_path / "scene.mrb")
        assert slicer.util.saveScene(path)
        slicer.mrmlScene.Clear(0)
        assert not shown(panel.ui.comparisonGroup)
        slicer.util.loadScene(path)
        assert shown(panel.ui.comparisonGroup)
        assert "Use the strategy decoder" in panel.ui.comparisonLabel.text
        assert shown(panel.ui.comparisonReportButton)
        assert "Done" not in panel.ui.comparisonStatus.text

    def test_on_another_computer_it_is_said_to_be_elsewhere(self, panel, parameters, home):
        compare(panel)
        shutil.rmtree(home / "comparisons")
        panel.update()
        assert "not on this computer" in panel.ui.comparisonLabel.text
        assert not shown(panel.ui.comparisonReportButton) or not shown(panel.ui.comparisonButtons)

    def test_panel_reloaded_while_it_compares_stops_it_and_can_go_on(self, panel, command, parameters):
        command.order(hold=2)
        begin(panel)
        waitFor(training(panel))
        job = panel.comparison.job
        slicer.util.reloadScriptedModule("TransferSeg")
        waitFor(lambda: not job.running)
        again = slicer.modules.TransferSegWidget.finetunePanel
        again.refreshRuns()
        assert again is not panel
        assert "stopped before its end" in again.ui.comparisonLabel.text
        assert again.ui.resumeButton.enabled
        assert not again.comparison.running

    def test_panel_reloaded_while_it_asks_leaves_nothing_behind(self, panel, home):
        ask(panel)
        job = panel.comparison.job
        slicer.util.reloadScriptedModule("TransferSeg")
        assert not job.running
        assert list((home / "comparisons").iterdir()) == []
        assert slicer.modules.TransferSegWidget.finetunePanel.ui.finetuneButton.enabled


class TestOneThingAtATime:
    def test_nothing_else_starts_while_strategies_are_compared(self, widget, panel, command, parameters):
        for channel, node in addPatient("new").items():
            setChannelNode(parameters, channel, node)
        assert widget.segmentPanel.ui.segmentButton.enabled
        assert panel.ui.finetuneButton.enabled
        command.order(hold=0)
        begin(panel)
        waitFor(training(panel))
        for button in (widget.segmentPanel.ui.segmentButton, panel.ui.finetuneButton):
            assert not button.enabled
            assert "comparison" in button.toolTip
        command.release()
        end(panel)
        assert widget.segmentPanel.ui.segmentButton.enabled
        assert panel.ui.finetuneButton.enabled

    def test_nor_while_it_copies_cases_or_asks(self, panel):
        panel.ui.compareStrategiesButton.click()
        assert not panel.ui.finetuneButton.enabled
        waitFor(lambda: panel.comparison.job.asking)
        assert not panel.ui.finetuneButton.enabled

    def test_not_while_a_network_is_trained(self, panel, parameters):
        parameters.runName = "mine"
        panel.ui.finetuneButton.click()
        assert not panel.ui.compareStrategiesButton.enabled
        assert "training" in panel.ui.compareStrategiesButton.toolTip
        panel.ui.finetuneButton.click()
        waitFor(lambda: not panel.job.running)
        assert panel.ui.compareStrategiesButton.enabled

    def test_not_while_a_patient_is_segmented(self, widget, panel, parameters):
        for channel, node in addPatient("new").items():
            setChannelNode(parameters, channel, node)
        widget.segmentPanel.ui.segmentButton.click()
        assert not panel.ui.compareStrategiesButton.enabled
        assert "Segment" in panel.ui.compareStrategiesButton.toolTip
        widget.segmentPanel.ui.segmentButton.click()
        waitFor(lambda: not widget.segmentPanel.job.running)
        assert panel.ui.compareStrategiesButton.enabled


def test_every_disabled_button_says_why_while_strategies_are_compared(widget, panel, command):
    command.order(hold=0)
    begin(panel)
    waitFor(training(panel))
    for shownPanel in (widget.segmentPanel, widget.finetunePanel):
        for name, found in vars(shownPanel.ui).items():
            if name.endswith("Button") and hasattr(found, "toolTip") and not found.enabled:
                assert found.toolTip, name
