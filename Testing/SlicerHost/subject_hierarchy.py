"""Items of the subject hierarchy for new nodes: what Slicer's Qt plug-ins do, without segments as items."""

from __future__ import annotations

from typing import Any

import slicer
import vtk

__all__ = ["follow"]

# The plug-in that owns the item of a class, the more special class first.
OWNERS = {
    "vtkMRMLLabelMapVolumeNode": "LabelMaps",
    "vtkMRMLVolumeNode": "Volumes",
    "vtkMRMLSegmentationNode": "Segmentations",
    "vtkMRMLModelNode": "Models",
    "vtkMRMLMarkupsNode": "Markups",
    "vtkMRMLTransformNode": "Transforms",
    "vtkMRMLTableNode": "Tables",
    "vtkMRMLTextNode": "Texts",
    "vtkMRMLPlotChartNode": "Charts",
    "vtkMRMLPlotSeriesNode": "PlotSeries",
    "vtkMRMLSequenceNode": "Sequences",
}


def follow(scene: Any) -> None:
    """Keep the subject hierarchy of the scene complete."""

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def added(_scene: Any, _event: str, node: Any) -> None:
        if not (scene.IsImporting() or scene.IsRestoring() or scene.IsClosing()):
            _add(scene, node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def removed(_scene: Any, _event: str, node: Any) -> None:
        if _owner(node) and not scene.IsClosing():
            hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
            item = hierarchy.GetItemByDataNode(node)
            if item:
                hierarchy.RemoveItem(item, False, False)

    def read(_scene: Any, _event: str) -> None:
        slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy(scene)
        for index in range(scene.GetNumberOfNodes()):
            _add(scene, scene.GetNthNode(index))

    scene.AddObserver(scene.NodeAddedEvent, added)
    scene.AddObserver(scene.NodeAboutToBeRemovedEvent, removed)
    scene.AddObserver(scene.EndImportEvent, read)
    scene.AddObserver(scene.EndRestoreEvent, read)
    scene.AddObserver(scene.EndCloseEvent, read)


def _owner(node: Any) -> str:
    return next((name for kind, name in OWNERS.items() if node.IsA(kind)), "")


def _add(scene: Any, node: Any) -> None:
    if not _owner(node) or node.GetHideFromEditors():
        return
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    if hierarchy is not None and not hierarchy.GetItemByDataNode(node):
        item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
        hierarchy.SetItemOwnerPluginName(item, _owner(node))
