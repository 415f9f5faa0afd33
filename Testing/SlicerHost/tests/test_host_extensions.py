"""Packages, extensions, settings, dialogs and sample data: nothing is installed, nothing waits, nothing is fetched."""

import subprocess

import pytest
import qt
import slicer
from SlicerHost.extensions import installer


def test_in_testing_mode_nothing_is_installed():
    assert slicer.packaging.pip_ensure("no-such-package>=2", requester="T") is None
    assert installer.asked == [["no-such-package>=2"]]
    assert installer.installed == []
    assert slicer.packaging.pip_check("no-such-package") is False
    assert slicer.packaging.pip_check(["numpy>=1", "scipy"]) is True


def test_the_user_is_asked_and_may_decline():
    with pytest.raises(RuntimeError, match="declined"):
        slicer.packaging.pip_ensure("no-such-package", skip_in_testing=False)
    installer.consents = True
    slicer.packaging.pip_ensure("no-such-package", skip_in_testing=False)
    assert installer.installed == ["no-such-package"]
    assert slicer.packaging.pip_check("no-such-package") is True


def test_a_failing_installation():
    installer.works = False
    with pytest.raises(subprocess.CalledProcessError):
        slicer.packaging.pip_install("no-such-package")


def test_an_installed_package_can_be_missing_for_a_test(tmp_path):
    installer.present["numpy"] = False
    (tmp_path / "requirements.txt").write_text("# what it needs\nnumpy>=1\n-r other.txt\n\n")
    wanted = slicer.packaging.load_requirements(tmp_path / "requirements.txt")
    assert [item.name for item in wanted] == ["numpy"]
    assert not slicer.packaging.pip_check(wanted)


def test_an_extension_counts_as_installed_when_it_was_asked_for():
    model = slicer.app.extensionsManagerModel()
    assert model.isExtensionInstalled("PyTorch") is False
    assert model.installExtensionFromServer("PyTorch", False) is True
    assert model.isExtensionInstalled("PyTorch") is True
    assert installer.extensions_asked == ["PyTorch"]


def test_torch_comes_through_its_extension():
    with pytest.raises(ImportError):
        import PyTorchUtils
    installer.add_extension("PyTorch")
    installer.present["torch"] = False
    import PyTorchUtils

    logic = PyTorchUtils.PyTorchUtilsLogic()
    assert logic.torchInstalled() is False
    installer.consents = False
    assert logic.installTorch(askConfirmation=True, torchVersionRequirement=">=2.6") is None
    assert installer.asked == [["torch>=2.6"]]
    assert installer.installed == []


def test_nothing_is_uninstalled():
    slicer.util.pip_uninstall("numpy")
    assert slicer.packaging.pip_check("numpy") is False


def test_dialogs_do_not_wait():
    assert slicer.app.testingEnabled() is True
    assert slicer.util.confirmOkCancelDisplay("?") is False
    assert slicer.util.confirmYesNoDisplay("?") is False
    assert slicer.util.errorDisplay("!") is None


def test_settings_are_empty_and_leave_no_trace():
    settings = qt.QSettings()
    assert settings.value("TransferSeg/folder", "none") == "none"
    settings.setValue("TransferSeg/folder", "x")
    assert slicer.util.settingsValue("TransferSeg/folder", "") == "x"
    assert slicer.app.temporaryPath in settings.fileName()


def test_a_temporary_folder_lies_in_the_temporary_path():
    assert slicer.util.tempDirectory().startswith(slicer.app.temporaryPath)


def test_sample_data_with_an_address_in_the_network_is_refused():
    import SampleData

    logic = SampleData.SampleDataLogic()
    logic.registerCustomSampleDataSource(
        "T", "far", uris="https://example.org/a.nrrd", fileNames="a.nrrd", nodeNames="a"
    )
    with pytest.raises(AssertionError, match="No network"):
        logic.downloadSamples("far")
    with pytest.raises(AssertionError, match="neither"):
        logic.registerCustomSampleDataSource("T", "nothing", uris=[], fileNames=[])
    with pytest.raises(TypeError, match="lists"):  # a real one takes their length
        logic.registerCustomSampleDataSource("T", "nothing")


def test_translation_keeps_the_text():
    from slicer.i18n import tr, translate

    assert tr("Kůra {x}").format(x=1) == "Kůra 1"
    assert translate("qSlicerAbstractCoreModule", "Segmentation") == "Segmentation"
