"""Combo boxes: the devices to choose from, and showing a choice without telling anyone."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _


def fillDevices(combo: Any) -> None:
    """The devices to choose from."""
    for text, device in (
        (_("Automatic"), "auto"),
        (_("Processor (CPU)"), "cpu"),
        (_("NVIDIA graphics card (CUDA)"), "cuda"),
        (_("Apple graphics (MPS)"), "mps"),
    ):
        combo.addItem(text, device)


def select(combo: Any, data: Any) -> None:
    """Show the item with this data, without telling anyone."""
    index = combo.findData(data)
    if combo.currentIndex != index:
        was = combo.blockSignals(True)
        combo.setCurrentIndex(index)
        combo.blockSignals(was)
