# ruff: noqa: N802, N803
"""`import PyTorchUtils`, as the PyTorch extension gives it: there once a test says that the extension is installed."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from packaging.requirements import Requirement

from .extensions import installer

__all__ = ["pytorch_utils_module"]


class PyTorchUtilsLogic:
    """Tells of torch and pretends to install it."""

    @staticmethod
    def torchInstalled() -> bool:
        """Whether torch counts as installed; `installer.present["torch"]` decides for a test."""
        return installer.has(Requirement("torch"))

    def installTorch(
        self,
        askConfirmation: bool = False,
        forceComputationBackend: str | None = None,
        torchVersionRequirement: str | None = None,
        torchvisionVersionRequirement: str | None = None,
    ) -> Any:
        """Written down; torch then counts as installed. The module, or None when the pretended user says no."""
        installer.asked.append([f"torch{torchVersionRequirement or ''}"])
        if askConfirmation and installer.consents is False:
            return None
        if not installer.works:
            raise RuntimeError("light-the-torch failed (the stand-in was told so)")
        installer.installed.append(f"torch{torchVersionRequirement or ''}")
        installer.present["torch"] = True
        return self.torch

    @property
    def torch(self) -> Any:
        """The module torch, if this Python has it."""
        return importlib.import_module("torch")

    def getDevice(self) -> Any:
        """CUDA if there is one."""
        return self.torch.device("cuda") if self.torch.cuda.is_available() else "cpu"

    @property
    def cuda(self) -> bool:
        """Whether there is a CUDA device."""
        return bool(self.getDevice() != "cpu")


def pytorch_utils_module() -> ModuleType:
    """`PyTorchUtils`."""
    module = ModuleType("PyTorchUtils", "The PyTorch extension (a stand-in that installs nothing).")
    module.PyTorchUtilsLogic = PyTorchUtilsLogic  # type: ignore[attr-defined]
    return module
