# ruff: noqa: N802, N803
"""`SampleData`: registered data sets can be made by their own function or read from local files; no network."""

from __future__ import annotations

import urllib.parse
import urllib.request
from pathlib import Path
from types import ModuleType
from typing import Any

import slicer

from .faults import HostRefusal

__all__ = ["sample_data_module"]


class SampleDataSource:
    """One entry of the Sample Data module."""

    def __init__(self, sampleName: str | None = None, **given: Any) -> None:
        self.sampleName = sampleName
        self.__dict__.update(given)


class SampleDataLogic:
    """Registers and loads data sets."""

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom",
        sampleName: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        customDownloader: Any = None,
        thumbnailFileName: str | None = None,
        loadFileTypes: Any = None,
        loadFiles: Any = None,
        loadFileProperties: Any = None,
        checksums: Any = None,
        loadFileType: Any = None,
    ) -> None:
        """Make a data set known under a category and a name."""
        if not hasattr(slicer.modules, "sampleDataSources"):
            slicer.modules.sampleDataSources = {}
        source = SampleDataSource(
            sampleName,
            uris=[uris] if isinstance(uris, str) else list(uris or []),
            fileNames=[fileNames] if isinstance(fileNames, str) else list(fileNames or []),
            nodeNames=[nodeNames] if isinstance(nodeNames, str) else list(nodeNames or []),
            customDownloader=customDownloader,
            thumbnailFileName=thumbnailFileName,
            loadFileTypes=loadFileTypes or loadFileType,
            checksums=checksums,
        )
        if uris is None or fileNames is None:
            raise TypeError(
                f"Sample '{sampleName}' needs lists of addresses and file names, empty ones if there are none"
            )
        if not (source.uris or customDownloader):
            raise HostRefusal(f"Sample '{sampleName}' has neither an address nor a function")
        if thumbnailFileName and not Path(thumbnailFileName).is_file():
            raise HostRefusal(f"The thumbnail of sample '{sampleName}' does not exist: {thumbnailFileName}")
        slicer.modules.sampleDataSources.setdefault(category, []).append(source)

    @staticmethod
    def sourceForSampleName(sampleName: str) -> SampleDataSource | None:
        """The registered data set of this name."""
        every = [s for many in getattr(slicer.modules, "sampleDataSources", {}).values() for s in many]
        return next((source for source in every if source.sampleName == sampleName), None)

    def downloadFromSource(self, source: SampleDataSource) -> list[Any]:
        """Load the files of a data set. A function of its own is called by its button only, as in the real one.

        Raises HostRefusal for anything that needs a network.
        """
        loaded = []
        for index, uri in enumerate(source.uris):
            parsed = urllib.parse.urlparse(uri)
            if parsed.scheme != "file":
                raise HostRefusal(f"No network here: {uri}")
            name = source.nodeNames[index] if index < len(source.nodeNames) else ""
            path = urllib.request.url2pathname(parsed.path)
            loaded.append(slicer.util.loadNodeFromFile(path, properties={"name": name} if name else {}))
        return loaded

    def downloadSamples(self, sampleName: str) -> list[Any]:
        """Load the data set of this name."""
        source = self.sourceForSampleName(sampleName)
        if source is None:
            raise ValueError(f"There is no sample data '{sampleName}'")
        return self.downloadFromSource(source)

    def downloadSample(self, sampleName: str) -> Any:
        """The first node of the data set of this name."""
        return next(iter(self.downloadSamples(sampleName)), None)


def sample_data_module() -> ModuleType:
    """`import SampleData`."""
    module = ModuleType("SampleData", "Sample Data without a network (a stand-in).")
    module.SampleDataLogic, module.SampleDataSource = SampleDataLogic, SampleDataSource  # type: ignore[attr-defined]
    return module
