# ruff: noqa: N801, N802
"""slicer.app.coreIOManager(): loading and saving through MRML's own logics, storage nodes and scene files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from PySide6 import QtCore

__all__ = ["qSlicerCoreIOManager"]

_KINDS = {
    "vtkMRMLSegmentationNode": "SegmentationFile",
    "vtkMRMLVolumeNode": "VolumeFile",
    "vtkMRMLTableNode": "TableFile",
    "vtkMRMLTransformNode": "TransformFile",
    "vtkMRMLModelNode": "ModelFile",
    "vtkMRMLTextNode": "TextFile",
}
_SUFFIXES = {
    (".seg.nrrd", ".seg.nhdr"): "SegmentationFile",
    (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd"): "VolumeFile",
    (".mrml", ".mrb"): "SceneFile",
    (".csv", ".tsv"): "TableFile",
    (".h5", ".tfm", ".mat"): "TransformFile",
}


class qSlicerCoreIOManager(QtCore.QObject):
    """Files: volumes, segmentations, tables, transforms, scenes. Other kinds are refused."""

    def __init__(self, scene: Any, logic_of: Any) -> None:
        super().__init__()
        self._scene, self._logic_of = scene, logic_of

    @QtCore.Slot(str, result=str)
    def fileType(self, path: str) -> str:
        """The kind of a file, by its name."""
        return next((kind for ends, kind in _SUFFIXES.items() if str(path).lower().endswith(ends)), "NoFile")

    @QtCore.Slot(object, str, result=str)
    def fileWriterFileType(self, node: Any, extension: str = "") -> str:
        """The kind of file that a node is written to."""
        return next((kind for name, kind in _KINDS.items() if node.IsA(name)), "NoFile")

    @QtCore.Slot(str, dict, object, object, result=bool)
    def loadNodes(self, kind: str, properties: Any, loaded: Any = None, messages: Any = None) -> bool:
        """Read a file into the scene; whether that worked. The nodes are put in the collection."""
        path = properties["fileName"]
        if kind != "SceneFile" and not Path(path).is_file():
            return False
        reader = getattr(self, f"_load_{kind.lower()}", None)
        if reader is None:
            raise NotImplementedError(f"This stand-in reads no {kind}")
        node = reader(path, properties)
        if node and node is not True and loaded is not None:
            loaded.AddItem(node)
        return bool(node)

    def _load_volumefile(self, path: str, properties: dict[str, Any]) -> Any:
        bits = ("labelmap", 1), ("center", 2), ("singleFile", 4), ("autoWindowLevel", 8), ("discardOrientation", 16)
        options = sum(bit for name, bit in bits if properties.get(name, name == "autoWindowLevel"))
        name = properties.get("name") or Path(path).name.split(".")[0]
        return self._logic_of("Volumes").AddArchetypeVolume(path, name, options)

    def _load_segmentationfile(self, path: str, properties: dict[str, Any]) -> Any:
        name = properties.get("name") or Path(path).name.split(".")[0]
        return self._logic_of("Segmentations").LoadSegmentationFromFile(path, True, name)

    def _load_tablefile(self, path: str, properties: dict[str, Any]) -> Any:
        return self._logic_of("Tables").AddTable(path, properties.get("name") or Path(path).stem)

    def _load_transformfile(self, path: str, properties: dict[str, Any]) -> Any:
        return self._logic_of("Transforms").AddTransform(path, self._scene)

    def _load_scenefile(self, path: str, properties: dict[str, Any]) -> bool:
        clear = bool(properties.get("clear", False))
        if str(path).lower().endswith(".mrb"):
            return bool(self._scene.ReadFromMRB(path, clear))
        self._scene.SetURL(path)
        return bool(self._scene.Connect() if clear else self._scene.Import())

    @QtCore.Slot(str, dict, object, result=bool)
    def saveNodes(self, kind: str, properties: Any, messages: Any = None) -> bool:
        """Write a node, or the scene; whether that worked."""
        path = str(properties["fileName"])
        if kind == "SceneFile":
            return self._save_scene(path)
        node = self._scene.GetNodeByID(properties["nodeID"])
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode()
        storage = node.GetStorageNode()
        # As in Slicer: a relative path is one from the folder of the scene, at first the user's documents.
        storage.SetFileName(os.path.join(self._scene.GetRootDirectory() or Path.home() / "Documents", path))
        if "useCompression" in properties:
            storage.SetUseCompression(int(properties["useCompression"]))
        return bool(storage.WriteData(node))

    def _save_scene(self, path: str) -> bool:
        if path.lower().endswith(".mrb"):
            return bool(self._scene.WriteToMRB(path))
        if path.lower().endswith(".mrml"):
            self._scene.SetRootDirectory(str(Path(path).parent))
            return bool(self._scene.Commit(path))
        raise NotImplementedError("This stand-in saves scenes as .mrml and .mrb only")

    @QtCore.Slot(str, object, result=str)
    def extractKnownExtension(self, path: str, node: Any) -> str:
        """The end of a file name that a writer of the node knows."""
        ends = [end for known in _SUFFIXES for end in known if path.lower().endswith(end)]
        return max(ends, key=len, default="")

    @QtCore.Slot(object, result="QStringList")
    def fileWriterExtensions(self, node: Any) -> list[str]:
        """What can be written, as 'NRRD (.nrrd)'."""
        kind = self.fileWriterFileType(node)
        return [f"{end[1:]} ({end})" for ends, name in _SUFFIXES.items() if name == kind for end in ends]

    @QtCore.Slot("QStringList", "QStringList", dict, bool, object, result=bool)
    def exportNodes(self, ids: Any, paths: Any, properties: Any, harden: bool, messages: Any = None) -> bool:
        """Write copies of nodes; the nodes' own storage nodes are left alone. Hardening is refused."""
        if harden:
            raise NotImplementedError("This stand-in exports no nodes in world coordinates")
        for node_id, path in zip(ids, paths, strict=True):
            node = self._scene.GetNodeByID(node_id)
            storage = node.CreateDefaultStorageNode()
            storage.UnRegister(None)
            storage.SetFileName(path)
            storage.SetScene(self._scene)
            if not storage.WriteData(node):
                return False
        return True
