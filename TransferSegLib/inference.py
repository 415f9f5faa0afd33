"""Segmenting: from the images of a case to labels on the grid of its reference channel."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .allocator import keep_memory
from .case import load_case
from .case_files import CaseFiles, as_files
from .device import choose_device, choose_precision
from .engines import Engine, make_engine, torch_engine
from .errors import InputError
from .events import CancelToken, OnEvent, Warning, ignore
from .formats import ending, stem
from .labels import LabelScheme
from .memory import BASE_BYTES, available_bytes, inference_bytes, slab_thickness
from .metrics import count_lesions
from .model import Model, load_model
from .preprocess import Pipeline
from .preprocess.brain import FindBrain
from .preprocess.pipeline import inside, labels_on
from .resample import resample
from .volume import Volume, write_volume

# Share of the free memory that is used before a case is done in slabs.
MEMORY_SHARE = 0.7


@dataclass(frozen=True)
class InferenceOptions:
    """How to segment.

    Attributes
    ----------
    flips : average the probabilities over the image and its left-right mirror image.
    engine, device, precision : see :func:`engines.make_engine`.
    memory_gb : memory to use at most; None: most of what is free.
    reference : channel that gives the grid of the result; None: see :func:`case.load_case`.
    probabilities : keep the probability of each class too.
    also_on : channels on whose own grids the labels are wanted too; ``("all",)``: every channel but the reference.
    brain : how to find the brain, see :data:`preparation.BRAIN_METHODS`; None: as the model's card says.
    """

    flips: bool = False
    engine: str = "auto"
    device: str = "auto"
    precision: str = "float32"
    memory_gb: float | None = None
    reference: str | None = None
    probabilities: bool = False
    also_on: tuple[str, ...] = ()
    brain: str | None = None


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The result for one case.

    Attributes
    ----------
    labels : internal labels on the grid of the reference channel, with its header conventions.
    scheme : what the labels mean.
    volumes_ml : millilitres of each region and each class.
    lesions : connected parts (26 neighbours) of each region.
    probabilities : class name to its probability on the same grid; empty unless asked for.
    also_on : channel to labels on that channel's own grid; empty unless asked for.
    """

    name: str
    labels: Volume
    scheme: LabelScheme
    volumes_ml: Mapping[str, float]
    lesions: Mapping[str, int]
    probabilities: Mapping[str, Volume] = field(default_factory=dict)
    also_on: Mapping[str, Volume] = field(default_factory=dict)

    def save(self, path: str | Path) -> Path:
        """Write the label map with the scheme's codes (glioma: 1, 2, 4), and what else there is beside it.

        Raises
        ------
        InputError, ResourceError : see :func:`volume.write_volume`.
        """
        path = Path(path)
        found = ending(path)
        for name, volume in self.probabilities.items():
            safe = re.sub(r"[^\w.-]+", "-", name)
            write_volume(volume, path.with_name(f"{stem(path)}_probability-{safe}{found}"))
        for channel, labels in self.also_on.items():
            decoded = labels.with_data(self.scheme.decode(labels.data))
            write_volume(decoded, path.with_name(f"{stem(path)}_on-{channel}{found}"))
        return write_volume(self.labels.with_data(self.scheme.decode(self.labels.data)), path)


class Segmenter:
    """A model that is loaded once and segments many cases.

    >>> segmenter = Segmenter("ms-lesion")                                                    # doctest: +SKIP
    >>> segmenter({"t1": "a.nii", "t1c": "b.nii", "t2": "c.nii", "flair": "d.nii"}).volumes_ml  # doctest: +SKIP
    """

    def __init__(self, model: str | Path | Model, options: InferenceOptions | None = None) -> None:
        self.model = load_model(model)
        self.options = options or InferenceOptions()
        self.scheme = self.model.scheme
        self.channels = tuple(self.model.card.channels)
        self.pipeline = Pipeline.from_card(self.model.card.preprocessing)
        if self.options.brain is not None:
            self.pipeline = replace(self.pipeline, brain=FindBrain(self.options.brain))
        unknown = sorted({*self.options.also_on} - {*self.channels, "all"})
        if unknown:
            raise InputError(
                f"The model has no channel '{unknown[0]}' to write labels on.", f"It has {', '.join(self.channels)}."
            )
        self._engine = make_engine(self.model, self.options.engine, self.options.device, self.options.precision)

    @keep_memory()
    def __call__(
        self,
        case: CaseFiles | Mapping[str, str | Path],
        name: str = "case",
        on_event: OnEvent = ignore,
        cancel: CancelToken | None = None,
        reference: str | None = None,
    ) -> Segmentation:
        """Segment one case.

        Parameters
        ----------
        reference : channel that gives the grid of the result for this case; None: as the options say.

        Raises
        ------
        InputError : see :func:`case.load_case`.
        ResourceError : the memory is full.
        Cancelled : on request, while an outside tool finds the brain.
        """
        reference = reference or self.options.reference
        loaded = load_case(as_files(case, name), self.channels, reference=reference, on_event=on_event)
        placed = self.pipeline.place(loaded, on_event, cancel)
        prepared = self.pipeline.scale(self.pipeline.sample(placed, self.channels), self.channels)
        probability = self.probability(prepared.image, prepared.brain, prepared.name, on_event)
        labels = labels_on(loaded.grid, probability, prepared.grid)
        maps = {}
        if self.options.probabilities:
            for label, label_name in enumerate(self.scheme.names):
                if label:
                    values = resample(probability[label], prepared.grid, loaded.grid)
                    maps[label_name] = loaded.reference.with_data(np.asarray(values, np.float32))
        wanted = self.channels if "all" in self.options.also_on else self.options.also_on
        others = {
            channel: loaded.volumes[channel].with_data(
                labels_on(placed.volumes[channel].grid, probability, prepared.grid)
            )
            for channel in wanted
            if channel != loaded.reference_channel
        }
        voxels = count_voxels(labels, self.scheme)
        return Segmentation(
            loaded.name,
            loaded.reference.with_data(labels),
            self.scheme,
            {part: count * loaded.grid.voxel_ml for part, count in voxels.items()},
            {region: count_lesions(mask) for region, mask in self.scheme.region_masks(labels).items()},
            maps,
            others,
        )

    def probability(
        self, image: NDArray[np.float32], brain: NDArray[np.bool_], name: str = "", on_event: OnEvent = ignore
    ) -> NDArray[np.float32]:
        """Class probabilities (F, i, j, k) of a prepared ``image`` (C, i, j, k); background outside of ``brain``."""
        engine = self._fitting(image.shape[1:], name, on_event)
        result = _softmax(engine(image))
        if self.options.flips:
            result += np.flip(_softmax(engine(np.flip(image, 1))), 1)
            result /= 2
        return inside(brain, result)

    def _memory_limit(self) -> float:
        """Bytes. A graphics card says itself when its memory is full."""
        if self.options.memory_gb is not None:
            return self.options.memory_gb * 2**30
        return available_bytes() * MEMORY_SHARE if choose_device(self.options.device).type == "cpu" else math.inf

    def _fitting(self, shape: tuple[int, ...], name: str, on_event: OnEvent) -> Engine:
        """The engine if the memory allows it, else PyTorch, slab by slab."""
        network = self.model.card.network
        multiple = 2 ** (network.steps - 1)
        padded = [-(-side // multiple) * multiple for side in shape]
        limit = self._memory_limit() - BASE_BYTES
        engine = self._engine
        if inference_bytes(math.prod(padded), network.base_filters, network.classes) > limit:
            on_event(Warning("The image does not fit into the memory at once: it takes about twice as long.", name))
            slabs = slab_thickness(limit, padded, network.base_filters, network.classes)
            device = choose_device(self.options.device)
            engine = torch_engine(self.model.build(), device, choose_precision(self.options.precision, device), slabs)
        return lambda image: _padded(engine, image, padded)


def segment(
    case: CaseFiles | Mapping[str, str | Path],
    model: str | Path | Model,
    name: str = "case",
    on_event: OnEvent = ignore,
    **options: Any,
) -> Segmentation:
    """Segment one case; ``options`` are those of :class:`InferenceOptions`."""
    return Segmenter(model, InferenceOptions(**options))(case, name, on_event)


def count_voxels(labels: NDArray[np.uint8], scheme: LabelScheme) -> dict[str, int]:
    """Voxels of each region, then of each class that is not itself a region."""
    counts = {region: int(mask.sum()) for region, mask in scheme.region_masks(labels).items()}
    each = np.bincount(labels.ravel(), minlength=len(scheme))
    return counts | {name: int(each[label]) for label, name in enumerate(scheme.names) if label and name not in counts}


def _padded(engine: Engine, image: NDArray[np.float32], sides: Sequence[int]) -> NDArray[np.float32]:
    """Logits of an image whose sides are zero-padded at the high end to ``sides``."""
    i, j, k = image.shape[1:]
    if (i, j, k) == tuple(sides):
        return engine(image)
    more = [(0, 0)] + [(0, side - have) for side, have in zip(sides, (i, j, k), strict=True)]
    return engine(np.pad(image, more))[:, :i, :j, :k]


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    result: NDArray[np.float32] = logits - logits.max(axis=0)
    np.exp(result, out=result)
    result /= result.sum(axis=0)
    return result
