# ruff: noqa: N815
"""Signals: C++ signatures, cut arguments, and errors that do not stay hidden."""

import contextlib

import ctk
import pytest
import qt
import slicer
import vtk
from SlicerHost import faults


def test_connect_by_signature():
    got = []
    button = qt.QPushButton()
    assert button.connect("clicked(bool)", got.append) is True
    assert button.connect("clicked()", lambda: got.append("none")) is True
    button.click()
    assert got == [False, "none"]


@pytest.mark.parametrize(
    "signature", ["clickd(bool)", "clicked", "clicked(int)", "textChanged(QString)", "clicked(PyObject)"]
)
def test_an_unknown_signal_is_refused(signature):
    with faults.expected(), pytest.raises(faults.HostRefusal, match="has no signal"):
        qt.QPushButton().connect(signature, print)
    with pytest.raises(AttributeError):
        qt.QPushButton().clickd.connect(print)


def test_a_refused_signal_fails_the_test_even_when_the_error_is_swallowed():
    with faults.expected() as found, contextlib.suppress(Exception):
        qt.QPushButton().connect("clickd()", print)
    assert isinstance(found[0].error, faults.HostRefusal)


def test_arguments_are_cut_to_what_the_function_takes():
    got = []
    button = qt.QPushButton()
    button.clicked.connect(lambda: got.append(()))
    button.clicked.connect(lambda checked: got.append((checked,)))
    button.clicked.connect(lambda *every: got.append(every))
    button.clicked.connect(lambda name="x": got.append(name))
    button.click()
    assert got == [(), (False,), (False,), False]


def test_too_few_arguments_are_an_error_in_the_slot():
    button = qt.QPushButton()
    button.connect("clicked(bool)", lambda checked, more: None)
    with faults.expected() as found:
        button.click()
    assert isinstance(found[0].error, TypeError)


def test_disconnect():
    got = []
    button = qt.QPushButton()
    button.connect("clicked()", got.append)
    assert button.disconnect("clicked()", got.append) is True
    assert button.disconnect("clicked()", got.append) is False
    button.click()
    assert got == []


def test_emit_and_block():
    got = []
    button = qt.QPushButton()
    button.connect("clicked(bool)", got.append)
    button.clicked.emit(True)
    button.clicked(True)
    assert button.blockSignals(True) is False
    button.click()
    assert button.blockSignals(False) is True
    assert got == [True, True]


def test_connect_to_a_slot_by_its_signature():
    box, bar = qt.QSpinBox(), qt.QProgressBar()
    box.connect("valueChanged(int)", bar, "setValue(int)")
    box.value = 42
    assert bar.value == 42
    with pytest.raises(faults.HostRefusal, match="no slot"):
        box.connect("valueChanged(int)", bar, "setVal(int)")


def test_own_signals_of_a_python_subclass():
    class Worker(qt.QObject):
        done = qt.Signal(str)

    got = []
    worker = Worker()
    worker.connect("done(QString)", got.append)
    worker.done.emit("x")
    assert got == ["x"]


def test_signals_of_stand_in_widgets_have_the_real_signatures():
    got = []
    combo = slicer.qMRMLNodeComboBox()
    combo.nodeTypes = ["vtkMRMLModelNode"]
    combo.setMRMLScene(slicer.mrmlScene)
    combo.connect("currentNodeChanged(vtkMRMLNode*)", lambda node: got.append(node))
    combo.connect("currentNodeChanged(bool)", lambda valid: got.append(valid))
    combo.connect("currentNodeIDChanged(QString)", got.append)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode")
    assert got == []
    combo.setCurrentNode(node)
    assert got == [node, True, node.GetID()]
    slider = ctk.ctkSliderWidget()
    slider.connect("valueChanged(double)", got.append)
    slider.value = 3.5
    assert got[-1] == 3.5


def wrong(*_):
    raise RuntimeError("in a slot")


def make_slot_fail():
    button = qt.QPushButton()
    button.connect("clicked()", wrong)
    button.click()


def make_timer_fail():
    qt.QTimer.singleShot(0, wrong)
    slicer.app.processEvents()


def make_observer_fail():
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode")
    node.AddObserver(vtk.vtkCommand.ModifiedEvent, wrong)
    node.Modified()


def make_virtual_fail():
    class Panel(qt.QWidget):
        showEvent = wrong

    Panel().show()


@pytest.mark.parametrize("fail", [make_slot_fail, make_timer_fail, make_observer_fail, make_virtual_fail])
def test_an_error_out_of_sight_is_kept(fail):
    with faults.expected() as found:
        fail()
    assert [str(fault.error) for fault in found] == ["in a slot"]


@pytest.mark.parametrize("fail", ["slot", "timer", "observer", "virtual"])
def test_an_error_out_of_sight_fails_the_test(fail, request):
    """As the plug-in sees it: the hook around a test raises what the test left behind."""
    from SlicerHost import plugin

    around = plugin.pytest_runtest_call(request.node)
    next(around)
    globals()[f"make_{fail}_fail"]()
    with pytest.raises(faults.HiddenErrors, match="in a slot"):
        around.send(None)
