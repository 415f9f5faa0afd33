"""Model: weights and card, from disk and to disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .bundle import Weights, read_bundle, serialize_weights, sha256, write_bundle
from .errors import DependencyError, ModelError
from .labels import LabelScheme
from .registry import find_model

# PyTorch takes more than a second to import: only the functions that compute with it do.
if TYPE_CHECKING:
    from .card import Card, Network
    from .network import UNet


@dataclass(frozen=True, eq=False)
class Model:
    """A trained network and all there is to know about it. Make a new one with :func:`new_model`.

    Attributes
    ----------
    card : what the model sees and answers, how it was made and how good it is.
    weights : tensor name, as in ``UNet.state_dict()``, to float32 or int64 array.
    path : the folder or zip it was read from, or None.
    """

    card: Card
    weights: Weights
    path: Path | None = None

    @property
    def name(self) -> str:
        """The name on the card."""
        return self.card.name

    @property
    def scheme(self) -> LabelScheme:
        """The labels that the model gives."""
        return self.card.scheme

    @property
    def sha256(self) -> str:
        """Of the weights' file: tells models apart whatever they are called."""
        return self.card.weights_sha256

    def build(self) -> UNet:
        """The network with the weights loaded, in evaluation mode, on the CPU.

        Raises
        ------
        ModelError : a tensor is missing, unknown, or has another shape or type than the network's.
        DependencyError : PyTorch is not installed.
        """
        torch = _torch()
        network = _empty_network(self.card.network)
        self._check_tensors(network.state_dict())
        tensors = {name: torch.tensor(array) for name, array in self.weights.items()}
        # The network has no memory yet: it takes the tensors as its own. No random numbers are drawn this way.
        network.load_state_dict(tensors, assign=True)
        network.eval()
        return network

    def _check_tensors(self, expected: Mapping[str, Any]) -> None:
        where = f"{self.path}: the weights" if self.path else "The weights"
        remedy = "The card describes another network: get the model again from whoever made it."
        for name, tensor in expected.items():
            if name not in self.weights:
                raise ModelError(f"{where} have no tensor '{name}'.", remedy)
            found, needed = self.weights[name], tuple(tensor.shape)
            if found.shape != needed:
                raise ModelError(
                    f"{where} have the tensor '{name}' with the shape {found.shape}, the network needs {needed}.",
                    remedy,
                )
            if str(tensor.dtype) != f"torch.{found.dtype}":
                raise ModelError(f"{where} have the tensor '{name}' as {found.dtype}, not {tensor.dtype}.", remedy)
        unknown = [name for name in self.weights if name not in expected]
        if unknown:
            raise ModelError(f"{where} have the tensor '{unknown[0]}', which the network does not know.", remedy)


def new_model(card: Mapping[str, Any], weights: Mapping[str, Any]) -> Model:
    """A model from its parts; the hash of the weights is put on the card.

    Parameters
    ----------
    card : the fields of :class:`TransferSegLib.card.Card`, but for ``weights_sha256``.
    weights : name to array or tensor, for instance ``network.state_dict()``. They are copied.

    Raises
    ------
    ModelError : a field is missing, unknown or wrong, or a tensor is not finite.
    """
    from .card import Card

    arrays = {name: _array(value) for name, value in weights.items()}
    return Model(Card.from_dict({**card, "weights_sha256": sha256(serialize_weights(arrays))}), arrays)


def load_model(source: str | Path | Model) -> Model:
    """Read a model.

    Parameters
    ----------
    source : the name of a shipped or installed model; a folder; the folder of a run that holds it as ``model/``; a zip.
        A Model is given back as it is.

    Raises
    ------
    ModelError : it is unknown, damaged, too new or too large.
    DependencyError : a package to read it is not installed.
    """
    if isinstance(source, Model):
        return source
    bundle = read_bundle(find_model(source))
    return Model(bundle.card, bundle.weights, bundle.path)


def save_model(model: Model, path: str | Path) -> Path:
    """Write a model with its README, as a zip when ``path`` ends in ``.zip``, else as a folder; whole or not at all.

    Equal models give equal files. The card on disk always has the hash of the weights beside it.

    Raises
    ------
    ModelError : a tensor is not float32 or int64, or not finite.
    InputError : ``path`` cannot be written, or is a folder with other things in it.
    ResourceError : the disk is full.
    """
    data = serialize_weights(model.weights)
    found = sha256(data)
    card = model.card if found == model.sha256 else model.card.replace(weights_sha256=found)
    return write_bundle(path, card, data)


def verify_model(path: str | Path) -> list[str]:
    """Check everything about a model, the network included.

    Returns
    -------
    The checks that were passed, one sentence each.

    Raises
    ------
    ModelError : the first check that failed.
    DependencyError : PyTorch is not installed.
    """
    model = load_model(path)
    model.build()
    numbers = sum(array.size for array in model.weights.values())
    return [
        f"The card follows format {model.card.format}.",
        f"The weights match the card (sha256 {model.sha256[:12]}...).",
        f"The weights are {len(model.weights)} tensors with {numbers:,} finite numbers.",
        "Every tensor fits the network.",
    ]


def expected_shapes(network: Network) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor that a model with this network has.

    Raises
    ------
    DependencyError : PyTorch is not installed.
    """
    return {name: tuple(tensor.shape) for name, tensor in _empty_network(network).state_dict().items()}


def _array(value: Any) -> NDArray[Any]:
    """A copy of an array or a tensor."""
    return np.array(value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def _empty_network(parameters: Network) -> UNet:
    """The network on PyTorch's meta device: shapes without memory."""
    torch = _torch()
    from .network import UNet

    with torch.device("meta"):
        return UNet(**parameters.model_dump())


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise DependencyError("PyTorch is not installed.", "Install it with: pip install torch") from error
    return torch
