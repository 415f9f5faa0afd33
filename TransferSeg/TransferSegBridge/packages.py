"""The Python packages that the calculations need and Slicer has not: what is missing, and its installation."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from TransferSegLib.errors import DependencyError

from .worker import Worker, pythonCommand

REQUIREMENTS = Path(__file__).resolve().parents[1] / "Resources" / "requirements.txt"
TORCH_VERSION = "2.6"
TORCH_EXTENSION = "PyTorch"

# Only figures need it: all else works without.
FIGURES = "matplotlib>=3.10"

# What pip must not touch: Slicer ships its own, or the PyTorch extension installs the one for the graphics card.
_PROTECTED = ("torch", "torchvision", "numpy", "scipy", "SimpleITK", "vtk")

# Needs nothing but torch and numpy.
_WITHOUT_DEPENDENCIES = ("monai",)


@dataclass(frozen=True)
class PackageStatus:
    """Whether the calculations can run.

    Attributes
    ----------
    ready : nothing is missing.
    text : what is missing, or that all is there, in one line for the user.
    action : what the button says that calls :func:`install`; empty when there is nothing to do.
    """

    ready: bool
    text: str
    action: str = ""


def missingPackages() -> list[str]:
    """The lines of ``Resources/requirements.txt`` that are not met. Nothing is imported."""
    lines = (line.strip() for line in REQUIREMENTS.read_text("utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#") and not _isMet(line)]


def torchState() -> str:
    """``ok``, ``missing`` (or too old), or ``extension missing``: it is missing, and Slicer's PyTorch extension too.

    PyTorch is not imported: one that is broken, or in use, could not be replaced any more.
    """
    if _isMet(f"torch>={TORCH_VERSION}") and _isFound("torch"):
        return "ok"
    return "missing" if _isFound("PyTorchUtils") else "extension missing"


def status() -> PackageStatus:
    """What is missing, and what can be done. Takes some milliseconds."""
    missing, torch = missingPackages(), torchState()
    if torch == "ok" and not missing:
        text = _("All Python packages are installed (PyTorch {version}).").format(version=_version("torch"))
        return PackageStatus(True, text)
    if torch == "extension missing":
        if _waitsForRestart():
            return PackageStatus(
                False, _("Slicer must be restarted to use its PyTorch extension."), _("Restart Slicer")
            )
        return PackageStatus(
            False, _("The PyTorch extension of Slicer is not installed."), _("Install PyTorch extension")
        )
    names = [_name(requirement) for requirement in missing]
    if torch == "missing":
        old = _version("torch")
        pytorch = _("PyTorch {needed} or newer ({found} is installed)").format(needed=TORCH_VERSION, found=old)
        names.insert(0, pytorch if old and not _isMet(f"torch>={TORCH_VERSION}") else "PyTorch")
    return PackageStatus(False, _("Missing: {names}.").format(names=", ".join(names)), _("Install packages"))


def requireReady() -> None:
    """Raises
    ------
    DependencyError : something is missing. No dialog is opened.
    """
    found = status()
    if not found.ready:
        remedy = _('Press "{action}" in the TransferSeg module.').format(action=found.action)
        raise DependencyError(found.text, remedy)


def requirePackages() -> None:
    """For what needs the packages but not PyTorch.

    Raises
    ------
    DependencyError : one is missing. No dialog is opened.
    """
    missing = [_name(line) for line in missingPackages()]
    if missing:
        remedy = _('Press "{action}" in the TransferSeg module.').format(action=status().action)
        raise DependencyError(_("Missing: {names}.").format(names=", ".join(missing)), remedy)


def install(parent: Any = None) -> None:
    """Install what is missing, after asking the user once; nothing happens when the user declines.

    For the button of a panel: it opens dialogs. Without the PyTorch extension that one is installed, and Slicer must be
    restarted before the rest can be.

    Raises
    ------
    DependencyError : something could not be installed, or what was installed does not work.
    """
    missing, torch = missingPackages(), torchState()
    if torch == "extension missing":
        _installExtension(parent)
    elif (torch == "missing" or missing) and slicer.util.confirmOkCancelDisplay(
        _consent(missing, torch), _("Install Python packages"), parent
    ):
        if torch == "missing":
            _installTorch()
        if missing:
            _installPackages(missing)
        _checkAll()


def figuresReady() -> bool:
    """Whether reports can have figures."""
    return _isMet(FIGURES)


def installFigures() -> None:
    """Install what figures need; the user has agreed.

    Raises
    ------
    DependencyError : it could not be installed.
    """
    _installPackages([FIGURES])


def _consent(missing: Sequence[str], torch: str) -> str:
    lines = [_("TransferSeg needs Python packages that Slicer does not have. These will be downloaded and installed:")]
    if torch == "missing":
        lines.append("- " + _("PyTorch, by the PyTorch extension: 200 MB, or up to 3 GB for an NVIDIA graphics card"))
    if missing:
        names = ", ".join(_name(requirement) for requirement in missing)
        lines.append("- " + _("{names}: up to 20 MB together").format(names=names))
    lines.append(_("This can take some minutes, in which Slicer may not respond."))
    return "\n\n".join(lines)


def _installTorch() -> None:
    remedy = _("Check the internet connection and the free disk space, and try again. The Python console tells more.")
    try:
        import PyTorchUtils

        logic = PyTorchUtils.PyTorchUtilsLogic()
        logic.installTorch(askConfirmation=False, torchVersionRequirement=f">={TORCH_VERSION}")
    except Exception as error:
        raise DependencyError(_("PyTorch could not be installed: {error}").format(error=error), remedy) from error
    importlib.invalidate_caches()
    if torchState() != "ok":
        raise _brokenTorch(_("PyTorch was installed, but is not found."))


def _installPackages(missing: list[str]) -> None:
    remedy = _("Check the internet connection, and try again. The Python console tells more.")
    try:
        try:
            from slicer.packaging import pip_ensure
        except ImportError:  # Slicer 5.10
            _pipInstall(missing)
        else:
            pip_ensure(
                missing,
                skip_packages=list(_PROTECTED),
                prompt_install=False,
                requester="TransferSeg",
                skip_in_testing=False,
            )
    except Exception as error:
        cause = _("The Python packages could not be installed: {error}").format(error=error)
        raise DependencyError(cause, remedy) from error
    importlib.invalidate_caches()
    left = ", ".join(_name(requirement) for requirement in missing if not _isMet(requirement))
    if left:
        raise DependencyError(_("These Python packages could not be installed: {names}.").format(names=left), remedy)


def _pipInstall(missing: Sequence[str]) -> None:
    """Without slicer.packaging: protected packages stay as they are by a constraint."""
    alone = [requirement for requirement in missing if _name(requirement) in _WITHOUT_DEPENDENCIES]
    others = [requirement for requirement in missing if requirement not in alone]
    with tempfile.TemporaryDirectory(prefix="TransferSeg-", ignore_cleanup_errors=True) as folder:
        file = Path(folder, "constraints.txt")
        found = [(name, _version(name)) for name in _PROTECTED]
        file.write_text("".join(f"{name}=={version}\n" for name, version in found if version), "utf-8")
        if others:
            slicer.util.pip_install(["--constraint", str(file), *others])
        if alone:
            slicer.util.pip_install(["--no-deps", *alone])


def _checkAll() -> None:
    """What was installed must work; only a fresh process can tell."""
    required = [line for line in REQUIREMENTS.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    for names in (["torch"], list(map(_name, required))):
        outcome = Worker([], program=[*pythonCommand(), "-c", f"import {', '.join(names)}"]).wait()
        if outcome.ok or outcome.cancelled:  # the user has restarted Slicer meanwhile
            continue
        reason = outcome.log.rpartition("\n")[2] or outcome.message
        if names == ["torch"]:
            raise _brokenTorch(_("PyTorch does not work: {error}").format(error=reason))
        raise DependencyError(
            _("The Python packages do not work: {error}").format(error=reason),
            _("Restart Slicer and try again. If that does not help, install Slicer again."),
        )


def _brokenTorch(cause: str) -> DependencyError:
    return DependencyError(
        cause, _("Restart Slicer, uninstall PyTorch in the module PyTorch Utils, and install the packages again.")
    )


def _installExtension(parent: Any) -> None:
    if not _waitsForRestart():
        question = _(
            "TransferSeg needs the PyTorch extension of Slicer. It will be downloaded (less than 1 MB) and installed. "
            "Slicer must be restarted after that."
        )
        if not slicer.util.confirmOkCancelDisplay(question, _("Install PyTorch extension"), parent):
            return
        _downloadExtension()
    question = _("Slicer must be restarted to use its PyTorch extension. Unsaved data will be lost. Restart now?")
    if slicer.util.confirmYesNoDisplay(question, _("Restart Slicer"), parent):
        slicer.util.restart()


def _downloadExtension() -> None:
    model, done = _extensions(), False
    try:
        asks, model.interactive = model.interactive, False  # the user was asked
        try:
            done = model.installExtensionFromServer(TORCH_EXTENSION, False)
        finally:
            model.interactive = asks
    except AttributeError as error:  # a Slicer that was built without them, or is too old
        reason = _("This Slicer cannot install extensions by itself.")
        raise DependencyError(reason, _("Install the extension PyTorch in the Extensions Manager.")) from error
    if not done:
        raise DependencyError(
            _("The PyTorch extension of Slicer could not be installed."),
            _("Check the internet connection, or install the extension PyTorch in the Extensions Manager."),
        )


def _waitsForRestart() -> bool:
    """Whether the PyTorch extension was installed since Slicer was started."""
    model = _extensions()
    return model is not None and bool(model.isExtensionInstalled(TORCH_EXTENSION))


def _extensions() -> Any:
    return slicer.app.extensionsManagerModel() if hasattr(slicer.app, "extensionsManagerModel") else None


def _isMet(requirement: str) -> bool:
    try:
        try:
            from slicer.packaging import pip_check
        except ImportError:  # Slicer 5.10
            from packaging.requirements import Requirement

            wanted = Requirement(requirement)
            return wanted.specifier.contains(importlib.metadata.version(wanted.name), prereleases=True)
        return bool(pip_check(requirement))
    except Exception:  # an installation that was broken off leaves metadata that cannot be read
        return False


def _isFound(module: str) -> bool:
    if module in sys.modules:
        return sys.modules[module] is not None
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package) or ""
    except Exception:  # it is not there, or its metadata cannot be read
        return ""


def _name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
