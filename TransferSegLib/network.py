"""The U-Net of Kaur et al. 2019 (section 3.2, Fig. 1a).

With the defaults it has 101,048 parameters. The authors' slides settle what the text leaves open: the bottom step has
neither pooling nor batch normalisation, and each transposed convolution is followed by a leaky ReLU.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .errors import InputError

LEAKY_SLOPE = 0.01


# Whose mean and variance batch normalisation uses once training is over: those gathered over the training cases, as in
# the paper, or each image's own, which do not drift when the scanner changes. `Docs/first_results.md` compares them.
STATISTICS = ("running", "image")


class FixableBatchNorm3d(nn.BatchNorm3d):
    """Batch normalisation that, once ``fixed``, uses and keeps its running statistics through every ``train()``.

    ``requires_grad = False`` alone stops the gradient but lets the running mean and variance drift with the new data.
    With the ``statistics`` "image" each image is normalised by its own, in training and afterwards, as batch
    normalisation does with one image a batch; the running ones are neither used nor changed.
    """

    fixed = False

    def __init__(self, filters: int, statistics: str = "running") -> None:
        super().__init__(filters)
        self.statistics = statistics

    def train(self, mode: bool = True) -> FixableBatchNorm3d:
        super().train(mode and not self.fixed)
        return self

    def forward(self, x: Tensor) -> Tensor:
        if self.statistics == "running" and not self.training:
            return super().forward(x)
        if not torch.is_grad_enabled() and self.statistics == "image":
            return functional.instance_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)
        # PyTorch 2.13 on the CPU: with the channels last batch_norm sums naively (a mean over 176^3 voxels is off by
        # 0.1), and instance_norm has wrong gradients in bfloat16. So the statistics are taken from the plain layout.
        plain = x.contiguous()
        if self.statistics == "running":
            result = super().forward(plain)
        else:
            result = torch.cat([self._own(plain[n : n + 1]) for n in range(len(plain))])
        last = x.is_contiguous(memory_format=torch.channels_last_3d)
        return result.contiguous(memory_format=torch.channels_last_3d) if last else result

    def _own(self, image: Tensor) -> Tensor:
        return functional.batch_norm(image, None, None, self.weight, self.bias, True, 0.0, self.eps)


class EncoderStep(nn.Module):
    """Two convolutions; the skip is taken after them; then average pooling and batch normalisation."""

    def __init__(self, in_channels: int, filters: int, statistics: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(in_channels, filters, 3, padding=1)
        self.conv2 = nn.Conv3d(filters, filters, 3, padding=1)
        self.norm = FixableBatchNorm3d(filters, statistics)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        skip = activate(self.conv2(activate(self.conv1(x))))
        return skip, self.norm(pool(skip))


class Bottom(nn.Module):
    """The last encoder step: two convolutions."""

    def __init__(self, in_channels: int, filters: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(in_channels, filters, 3, padding=1)
        self.conv2 = nn.Conv3d(filters, filters, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return activate(self.conv2(activate(self.conv1(x))))


class DecoderStep(nn.Module):
    """Transposed convolution; [up, skip]; batch normalisation over both; two convolutions."""

    def __init__(self, in_channels: int, filters: int, statistics: str) -> None:
        super().__init__()
        self.up = nn.ConvTranspose3d(in_channels, filters, 3, stride=2, padding=1, output_padding=1)
        self.norm = FixableBatchNorm3d(2 * filters, statistics)
        self.conv1 = nn.Conv3d(2 * filters, filters, 3, padding=1)
        self.conv2 = nn.Conv3d(filters, filters, 3, padding=1)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.norm(torch.cat([activate(self.up(x)), skip], dim=1))
        return activate(self.conv2(activate(self.conv1(x))))


class UNet(nn.Module):
    """3D U-Net with ``base_filters * 2**(n - 1)`` filters at resolution step n.

    Parameters
    ----------
    in_channels : image channels C.
    classes : output channels F, background included.
    base_filters : k of the paper, 4.
    steps : resolution steps, 4: three poolings, so that every side of the input must divide by 8.
    statistics : of batch normalisation, one of ``STATISTICS``.

    ``forward`` takes (N, C, i, j, k) and returns logits (N, F, i, j, k); softmax is outside.
    """

    def __init__(
        self,
        in_channels: int = 4,
        classes: int = 4,
        base_filters: int = 4,
        steps: int = 4,
        statistics: str = "running",
    ) -> None:
        super().__init__()
        if min(in_channels, base_filters) < 1 or classes < 2 or steps < 2:
            raise InputError(
                f"A network of {in_channels} channels, {classes} classes, {base_filters} filters and {steps} steps "
                "cannot be built.",
                "Use at least 1 channel, 2 classes, 1 filter and 2 steps.",
            )
        if statistics not in STATISTICS:
            raise InputError(f"There are no statistics '{statistics}'.", f"Use {' or '.join(STATISTICS)}.")
        self.statistics = statistics
        self.in_channels, self.classes, self.base_filters, self.steps = in_channels, classes, base_filters, steps
        filters = [base_filters * 2**n for n in range(steps)]
        inputs = [in_channels, *filters]
        # Steps are numbered from 1 as in the paper.
        self.encoder = nn.ModuleDict(
            {str(n): EncoderStep(inputs[n - 1], filters[n - 1], statistics) for n in range(1, steps)}
        )
        self.bottom = Bottom(filters[-2], filters[-1])
        self.decoder = nn.ModuleDict(
            {str(n): DecoderStep(filters[n], filters[n - 1], statistics) for n in range(steps - 1, 0, -1)}
        )
        self.head = nn.Conv3d(filters[0], classes, 1)

    @property
    def multiple(self) -> int:
        """What every side of the input must divide by."""
        return int(2 ** (self.steps - 1))

    def forward(self, x: Tensor) -> Tensor:
        skips: dict[str, Tensor] = {}
        for name, step in self.encoder.items():
            skips[name], x = step(x)
        x = self.bottom(x)
        for name, step in self.decoder.items():
            x = step(x, skips[name])
        logits: Tensor = self.head(x)
        return logits


def check_input_shape(network: UNet, shape: tuple[int, ...]) -> None:
    """Raises
    ------
    InputError : ``shape`` (N, C, i, j, k) does not fit the network; names the sides to pad to.
    """
    if len(shape) != 5 or shape[1] != network.in_channels:
        raise InputError(
            f"The network takes (N, {network.in_channels}, i, j, k), not an input of the shape {tuple(shape)}.",
            "Give the channels it was made for.",
        )
    if any(side % network.multiple for side in shape[2:]):
        needed = tuple(-(-side // network.multiple) * network.multiple for side in shape[2:])
        raise InputError(
            f"The sides {tuple(shape[2:])} do not divide by {network.multiple}.", f"Pad the image to {needed}."
        )


def activate(x: Tensor) -> Tensor:
    # In place: a convolution's gradient does not need what it gave, so that it need not be kept.
    return functional.leaky_relu(x, LEAKY_SLOPE, inplace=True)


def pool(x: Tensor) -> Tensor:
    # PyTorch has no bfloat16 average pooling on the CPU; what follows is normalised in float32 anyway.
    return functional.avg_pool3d(x.float(), 2)
