"""Engines: the ways to run a trained network over an image."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .cache import default_cache
from .device import autocast, channels_last, choose_device, choose_precision, memory_errors, to_input
from .errors import DependencyError, InputError, TransferSegError
from .files import atomic_path
from .model import Model
from .network import UNet, check_input_shape
from .slabs import forward_in_slabs

# From an image (C, i, j, k) to logits (F, i, j, k), both float32; every side divides by the network's multiple.
Engine = Callable[[NDArray[np.float32]], NDArray[np.float32]]

ENGINES = ("auto", "torch", "openvino")

_OUT_OF_MEMORY = "Give a smaller --memory, so that the image is done in slabs."


def make_engine(model: Model, name: str = "auto", device: str = "auto", precision: str = "float32") -> Engine:
    """An engine for ``model``.

    Parameters
    ----------
    name : ``openvino`` computes on the CPU and needs the extra ``fast``; ``torch`` is always there; ``auto`` takes
        OpenVINO on the CPU when it is installed and can be used.
    precision : ``float32``, or ``bfloat16``: faster where the processor has it, logits differ by about 1e-2.

    Raises
    ------
    InputError, DependencyError : the engine, device or precision is unknown, or not there.
    ModelError : the weights do not fit the network.
    """
    if name not in ENGINES:
        raise InputError(f"There is no engine '{name}'.", f"Use one of {', '.join(ENGINES)}.")
    where = choose_device(device)
    number = choose_precision(precision, where)
    if name == "openvino":
        if not _has_openvino():
            raise DependencyError("OpenVINO is not installed.", 'Run: pip install "TransferSegLib[fast]"')
        if device != "auto" and where.type != "cpu":
            raise InputError(f"OpenVINO does not compute on '{device}'.", "Use --device cpu, or --engine torch.")
        return _openvino_engine(model, precision)
    if name == "auto" and where.type == "cpu" and _has_openvino():
        with contextlib.suppress(TransferSegError, RuntimeError):  # no room for its cache, or no such processor
            return _openvino_engine(model, precision)
    return torch_engine(model.build(), where, number)


def torch_engine(network: UNet, device: torch.device, precision: torch.dtype, slabs: int | None = None) -> Engine:
    """PyTorch on ``device``; takes ``network`` there. With ``slabs`` see :func:`slabs.forward_in_slabs`."""
    network = network.to(device).eval()
    channels_last(network)

    def run(image: NDArray[np.float32]) -> NDArray[np.float32]:
        batch = to_input(torch.from_numpy(np.require(image, requirements=("C", "W"))), device)
        check_input_shape(network, tuple(batch.shape))
        with memory_errors(_OUT_OF_MEMORY), torch.inference_mode(), autocast(device, precision):
            logits: Tensor = network(batch) if slabs is None else forward_in_slabs(network, batch, slabs)
        result: NDArray[np.float32] = logits[0].float().cpu().contiguous().numpy()
        return result

    return run


def _openvino_engine(model: Model, precision: str) -> Engine:
    import openvino

    # Equal weights are not an equal network: whose statistics it normalises by is not among them.
    path = default_cache() / "onnx" / f"{model.sha256[:32]}-{model.card.network.statistics}.onnx"
    if not path.exists():
        export_onnx(model, path)
    hint = {"bfloat16": "bf16", "float32": "f32", "auto": "bf16"}[precision]
    threads = {"INFERENCE_NUM_THREADS": torch.get_num_threads()}
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": hint, **threads})
    network = model.build()

    def run(image: NDArray[np.float32]) -> NDArray[np.float32]:
        batch = np.ascontiguousarray(image[None])
        check_input_shape(network, batch.shape)
        with memory_errors(_OUT_OF_MEMORY):
            return np.asarray(compiled(batch)[0][0])

    return run


def export_onnx(model: Model, path: str | Path) -> Path:
    """Write the network as ONNX, for images of any size; one file, weights included.

    Raises
    ------
    DependencyError : the packages for it are missing.
    """
    path = Path(path)
    if importlib.util.find_spec("onnxscript") is None:
        raise DependencyError(
            "The packages onnx and onnxscript are missing.", 'Run: pip install "TransferSegLib[fast]"'
        )
    network = model.build().eval()
    example = torch.zeros(1, network.in_channels, *(sides * network.multiple for sides in (2, 3, 4)))
    any_size: dict[int, Any] = dict.fromkeys((2, 3, 4), torch.export.Dim.DYNAMIC)
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)  # it reports on packages that are none of our business
    try:
        with atomic_path(path) as beside, warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                network,
                (example,),
                beside,
                input_names=["image"],
                output_names=["logits"],
                dynamic_shapes=(any_size,),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    finally:
        exporter.setLevel(level)
    return path


def _has_openvino() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in ("openvino", "onnx", "onnxscript"))
