"""TransferSeg: adapt a pre-trained 3D U-Net to your own brain MRIs, and segment with it.

>>> import TransferSegLib as ts                                                              # doctest: +SKIP
>>> result = ts.segment({"t1": "a.nii.gz", "t1c": "b.nii.gz", "t2": "c.nii.gz", "flair": "d.nii.gz"}, "glioma")
>>> result.save("out.nii.gz"); print(result.volumes_ml)                                      # doctest: +SKIP

Names are imported when they are first used, so that ``import TransferSegLib`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .case import load_case
    from .case_files import CaseFiles
    from .datasets import Dataset, find_cases
    from .errors import TransferSegError
    from .evaluation import evaluate
    from .events import CancelToken
    from .inference import InferenceOptions, Segmentation, Segmenter, segment
    from .labels import GLIOMA, LESION, LabelScheme
    from .model import Model, load_model, save_model, verify_model
    from .preprocess import Pipeline
    from .recipe import Recipe
    from .registry import export_model, install_model, list_models
    from .runs import Run, fine_tune, pretrain
    from .segment_many import segment_dataset
    from .strategies import STRATEGIES
    from .volume import Volume, read_volume, write_volume

__version__ = "0.1.0"

# Public name to the module it lives in.
_MODULES = {
    "CaseFiles": "case_files",
    "load_case": "case",
    "Dataset": "datasets",
    "find_cases": "datasets",
    "TransferSegError": "errors",
    "evaluate": "evaluation",
    "CancelToken": "events",
    "InferenceOptions": "inference",
    "Segmentation": "inference",
    "Segmenter": "inference",
    "segment": "inference",
    "segment_dataset": "segment_many",
    "GLIOMA": "labels",
    "LESION": "labels",
    "LabelScheme": "labels",
    "Model": "model",
    "load_model": "model",
    "save_model": "model",
    "verify_model": "model",
    "Pipeline": "preprocess",
    "Recipe": "recipe",
    "export_model": "registry",
    "install_model": "registry",
    "list_models": "registry",
    "Run": "runs",
    "fine_tune": "runs",
    "pretrain": "runs",
    "STRATEGIES": "strategies",
    "Volume": "volume",
    "read_volume": "volume",
    "write_volume": "volume",
}

__all__ = [
    "GLIOMA",
    "LESION",
    "STRATEGIES",
    "CancelToken",
    "CaseFiles",
    "Dataset",
    "InferenceOptions",
    "LabelScheme",
    "Model",
    "Pipeline",
    "Recipe",
    "Run",
    "Segmentation",
    "Segmenter",
    "TransferSegError",
    "Volume",
    "evaluate",
    "export_model",
    "find_cases",
    "fine_tune",
    "install_model",
    "list_models",
    "load_case",
    "load_model",
    "pretrain",
    "read_volume",
    "save_model",
    "segment",
    "segment_dataset",
    "verify_model",
    "write_volume",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
