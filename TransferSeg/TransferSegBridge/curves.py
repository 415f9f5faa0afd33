"""Learning curves: a table node that grows with every epoch, and a chart of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from TransferSegLib.labels import PALETTE

_EPOCH = "epoch"


class Curves:
    """The curves of one run: the loss, and on the validation cases the Dice of each region or the PR-AUC.

    The nodes are made with the first epoch.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.table: Any = None
        self.chart: Any = None

    def add(self, epoch: int, values: Mapping[str, float | None]) -> None:
        """A new row. An epoch that is there already, after a run went on, is not added again."""
        shown = {key: value for key, value in values.items() if key == "loss" or key.startswith(("dice_", "pr_auc"))}
        if self.table is None or self.table.GetScene() is None:
            self._make(list(shown))
        table = self.table.GetTable()
        epochs = table.GetColumnByName(_EPOCH)
        if epochs.GetNumberOfTuples() and epochs.GetValue(epochs.GetNumberOfTuples() - 1) >= epoch:
            return
        epochs.InsertNextValue(epoch)
        for key in [table.GetColumnName(column) for column in range(1, table.GetNumberOfColumns())]:
            value = shown.get(key)
            table.GetColumnByName(key).InsertNextValue(float("nan") if value is None else value)
        table.Modified()
        self.table.Modified()

    def show(self) -> None:
        """Show the chart in a view, if there are views and there is something to show."""
        if self.chart is not None and slicer.app.layoutManager() is not None:
            slicer.modules.plots.logic().ShowChartInLayout(self.chart)

    def _make(self, keys: list[str]) -> None:
        scene = slicer.mrmlScene
        self.table = scene.AddNewNodeByClass("vtkMRMLTableNode", _("{name} curves").format(name=self.name))
        self.chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", _("{name} curves").format(name=self.name))
        for column, name in ((vtk.vtkIntArray(), _EPOCH), *((vtk.vtkDoubleArray(), key) for key in keys)):
            column.SetName(name)
            self.table.AddColumn(column)
        for key, color in zip(keys, _colors(keys), strict=True):
            series = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", _readable(key))
            series.SetAndObserveTableNodeID(self.table.GetID())
            series.SetXColumnName(_EPOCH)
            series.SetYColumnName(key)
            series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
            series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
            series.SetLineWidth(2)
            if key == "loss":
                series.SetLineStyle(slicer.vtkMRMLPlotSeriesNode.LineStyleDash)
            series.SetColor(*color)
            self.chart.AddAndObservePlotSeriesNodeID(series.GetID())
        self.chart.SetTitle(self.name)
        self.chart.SetXAxisTitle(_("Epoch"))
        self.chart.SetYAxisTitle(_("Validation Dice, training loss"))


def _colors(keys: list[str]) -> list[tuple[float, float, float]]:
    """The loss is gray, the others have colors that color-blind people tell apart."""
    palette = iter(PALETTE)
    return [(0.5, 0.5, 0.5) if key == "loss" else tuple(part / 255 for part in next(palette)) for key in keys]


def _readable(key: str) -> str:
    if key == "loss":
        return _("training loss")
    return "PR-AUC" if key == "pr_auc" else _("Dice, {region}").format(region=key.removeprefix("dice_"))
