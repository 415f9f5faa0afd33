# ruff: noqa: N801, N802, N803
"""Extensions and packages: nothing is ever installed; what a module asks for is written down."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import slicer
from packaging.requirements import InvalidRequirement, Requirement
from PySide6 import QtCore

__all__ = ["Installer", "installer", "packaging_module", "qSlicerExtensionsManagerModel"]


@dataclass
class Installer:
    """What was asked for, and how the pretended user and network answer.

    `consents` is the user's answer to "install now?"; None asks slicer.util, which says no in testing mode as in a real
    Slicer. `works` is whether pip succeeds. `present` names requirements
    that count as installed (or, with False, as missing) whatever this Python has.
    """

    consents: bool | None = None
    works: bool = True
    present: dict[str, bool] = field(default_factory=dict)
    asked: list[list[str]] = field(default_factory=list)
    installed: list[str] = field(default_factory=list)
    extensions: set[str] = field(default_factory=set)
    extensions_asked: list[str] = field(default_factory=list)

    def reset(self) -> None:
        """Forget everything."""
        sys.modules.pop("PyTorchUtils", None)
        self.__init__()  # type: ignore[misc]

    def add_extension(self, name: str) -> None:
        """From now on the extension counts as installed, as after a restart."""
        from .pytorch_extension import pytorch_utils_module

        self.extensions.add(name)
        if name == "PyTorch":
            sys.modules["PyTorchUtils"] = pytorch_utils_module()

    def has(self, requirement: Requirement) -> bool:
        """Whether a requirement is met."""
        if requirement.marker is not None and not requirement.marker.evaluate():
            return True
        if requirement.name in self.present:
            return self.present[requirement.name]
        try:
            return requirement.specifier.contains(importlib.metadata.version(requirement.name), prereleases=True)
        except importlib.metadata.PackageNotFoundError:
            return False


installer = Installer()


class qSlicerExtensionsManagerModel(QtCore.QObject):
    """slicer.app.extensionsManagerModel()."""

    @QtCore.Slot(str, result=bool)
    def isExtensionInstalled(self, name: str) -> bool:
        """Whether a test said so."""
        return name in installer.extensions

    @QtCore.Slot(str, result=bool)
    def isExtensionEnabled(self, name: str) -> bool:
        """As isExtensionInstalled."""
        return name in installer.extensions

    def __init__(self) -> None:
        super().__init__()
        self._interactive = True

    # Whether a real one asks the user before it downloads.
    interactive = QtCore.Property(
        bool, lambda self: self._interactive, lambda self, value: setattr(self, "_interactive", value)
    )

    @QtCore.Slot(str, result=bool)
    @QtCore.Slot(str, bool, result=bool)
    @QtCore.Slot(str, bool, bool, result=bool)
    def installExtensionFromServer(self, name: str, restart: bool = True, update: bool = False) -> bool:
        """Written down; it then counts as installed if installations work (its modules come with a restart)."""
        installer.extensions_asked.append(name)
        if installer.works:
            installer.extensions.add(name)
        return installer.works


def _requirements(given: Any) -> list[Requirement]:
    try:
        many = [Requirement(given)] if isinstance(given, str) else [given] if isinstance(given, Requirement) else given
    except InvalidRequirement:
        many = given.split()
    if not isinstance(many, list):
        raise TypeError(f"Expected str, Requirement, or list, got {type(given).__name__}")
    return [item if isinstance(item, Requirement) else Requirement(item) for item in many]


def load_requirements(path: str | Path) -> list[Requirement]:
    """The requirements of a text file, without comments and options of pip."""
    lines = (line.strip() for line in Path(path).read_text("utf-8").splitlines())
    return [Requirement(line) for line in lines if line and line[0] not in "#-"]


def pip_check(req: Any) -> bool:
    """Whether all requirements are met."""
    return all(installer.has(item) for item in _requirements(req))


def pip_install(
    requirements: Any,
    constraints: Any = None,
    no_deps_requirements: Any = None,
    skip_packages: list[str] | None = None,
    blocking: bool = True,
    show_progress: bool = True,
    requester: str | None = None,
    logCallback: Callable[[str], None] | None = None,
    completedCallback: Callable[[int], None] | None = None,
) -> list[str] | None:
    """Written down; the packages then count as installed. Raises CalledProcessError when a test said that pip fails."""
    wanted = _requirements(requirements)
    installer.installed.extend(str(item) for item in wanted)
    if installer.works:
        installer.present.update((item.name, True) for item in wanted)
    elif blocking:
        raise subprocess.CalledProcessError(1, ["pip", "install", *map(str, wanted)])
    if not blocking and completedCallback is not None:
        completedCallback(0 if installer.works else 1)
    return list(skip_packages) if skip_packages is not None else None


def pip_uninstall(requirements: Any, **options: Any) -> None:
    """The packages then count as missing."""
    installer.present.update((item.name, False) for item in _requirements(requirements))


def pip_ensure(
    requirements: Any,
    constraints: Any = None,
    skip_packages: list[str] | None = None,
    prompt_install: bool = True,
    prompt_restart: bool = True,
    requester: str | None = None,
    skip_in_testing: bool = True,
    show_progress: bool = True,
) -> list[str] | None:
    """Install what is missing, if the user agrees. Raises RuntimeError when not; does nothing in testing mode."""
    missing = [item for item in _requirements(requirements) if not installer.has(item)]
    if not missing:
        return None
    installer.asked.append([str(item) for item in missing])
    if skip_in_testing and slicer.app.testingEnabled():
        return None
    if prompt_install:
        consents = installer.consents
        if consents is None:
            consents = slicer.util.confirmOkCancelDisplay(f"{len(missing)} Python packages are missing. Install them?")
        if not consents:
            raise RuntimeError("User declined package installation")
    return pip_install(missing, constraints=constraints, skip_packages=skip_packages, requester=requester)


def packaging_module() -> ModuleType:
    """`slicer.packaging`."""
    module = ModuleType("slicer.packaging", "A stand-in that installs nothing.")
    for function in (load_requirements, pip_check, pip_install, pip_uninstall, pip_ensure):
        setattr(module, function.__name__, function)
    module.isPipInstallInProgress = lambda: False  # type: ignore[attr-defined]
    return module
