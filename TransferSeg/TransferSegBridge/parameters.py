"""The parameter node: every choice of the panels, in the scene: saved, restored and undone with it."""

from __future__ import annotations

from typing import Annotated

import slicer
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode, vtkMRMLTableNode
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

# The image of a channel is a node reference of the raw parameter node: how many there are depends on the model.
_CHANNEL_ROLE = "TransferSeg.channel."


@parameterNodeWrapper
class TransferSegParameterNode:
    """All choices of the panels but the images of the channels (:func:`channelNode`).

    Attributes
    ----------
    tab : name of the panel in front.
    model : name of the model that segments.
    outputSegmentation : receives the result; None: a new one is made.
    volumesTable, scoresTable : of the last result: volumes, and Dice on held-out cases.
    device : auto, cpu, cuda or mps.
    brain : how to find the brain; empty: as the model's card says.
    mirror : average over the image and its mirror image.
    show3D : show the result in 3D views.
    source, strategy, epochs, spacing, trainDevice : of the fine-tuning; a spacing of 0 is the source's.
    compare : train the baseline from scratch too.
    comparison : folder of the last comparison of strategies; empty: none.
    runName : of the run and of the model it makes.
    scheme : what is segmented: ``glioma``, ``lesion``, ``segments`` (the user's own names), or a scheme as JSON.
    cases : the table of cases as JSON, see :mod:`annotated`.
    preview : show what the network gives while it learns.
    """

    tab: str = "segment"
    model: str = ""
    outputSegmentation: vtkMRMLSegmentationNode
    volumesTable: vtkMRMLTableNode
    scoresTable: vtkMRMLTableNode
    device: str = "auto"
    brain: str = ""
    mirror: bool = False
    show3D: bool = False
    source: str = ""
    strategy: str = "all"
    epochs: Annotated[int, WithinRange(1, 10000)] = 100
    spacing: Annotated[float, WithinRange(0, 10)] = 0.0
    trainDevice: str = "auto"
    compare: bool = False
    comparison: str = ""
    runName: str = ""
    scheme: str = "glioma"
    cases: str = "[]"
    preview: bool = True


def channelNode(parameters: TransferSegParameterNode, channel: str) -> vtkMRMLScalarVolumeNode | None:
    """The image chosen for a channel."""
    return parameters.parameterNode.GetNodeReference(_CHANNEL_ROLE + channel)


def setChannelNode(parameters: TransferSegParameterNode, channel: str, node: vtkMRMLScalarVolumeNode | None) -> None:
    """Choose the image of a channel, or none."""
    parameters.parameterNode.SetNodeReferenceID(_CHANNEL_ROLE + channel, node.GetID() if node else None)


def chosenChannels(parameters: TransferSegParameterNode, channels: list[str]) -> dict[str, vtkMRMLScalarVolumeNode]:
    """Channel to image, for those of ``channels`` that have one."""
    found = {channel: channelNode(parameters, channel) for channel in channels}
    return {channel: node for channel, node in found.items() if node is not None}


def modifying(parameters: TransferSegParameterNode) -> object:
    """``with modifying(parameters):`` tells observers once, at the end."""
    return slicer.util.NodeModify(parameters.parameterNode)
