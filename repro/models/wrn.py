"""Wide residual networks for small images (Zagoruyko and Komodakis 2016): blocks with activation first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import relu

from .dropout import Dropout
from .init import Scheme
from .network import Network, Small, Width, scaled


class PreActivated(nn.Module):
    """A residual block: batch norm and ReLU stand before each convolution, none after the addition.

    Where the shape changes the shortcut is a 1x1 convolution of the input after its batch norm and ReLU; else
    it is the input as it comes.
    """

    def __init__(self, inputs: int, filters: int, stride: int, drop: float) -> None:
        """Lay out the block.

        Args:
            inputs: channels coming in.
            filters: channels put out.
            stride: 1, or 2 to halve the side of the image.
            drop: probability of dropout before the second convolution; at 0 there is no such layer.
        """
        super().__init__()
        self.bn = nn.BatchNorm2d(inputs)
        self.branch = nn.Sequential(
            nn.Conv2d(inputs, filters, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(filters),
            nn.ReLU(inplace=True),
            *([Dropout(drop)] if drop else []),
            nn.Conv2d(filters, filters, 3, padding=1, bias=False),
        )
        changes = stride != 1 or inputs != filters
        self.shortcut = nn.Conv2d(inputs, filters, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, filters, H / stride, W / stride)."""
        active = relu(self.bn(x), inplace=True)
        out = self.branch(active)
        out += x if self.shortcut is None else self.shortcut(active)
        return out


class WideResNet(Network):
    """Stem, groups of blocks (each but the first halves the side), batch norm, ReLU, average pool, linear."""

    def __init__(
        self,
        blocks: int,
        stem: int,
        filters: Sequence[int],
        classes: int,
        channels: int,
        drop: float,
        init: Scheme,
    ) -> None:
        """Lay out the network.

        Args:
            blocks: number of blocks of each group.
            stem: filters of the first convolution.
            filters: filters of each group.
            classes: number of outputs.
            channels: channels of the images.
            drop: probability of dropout in the blocks.
            init: scheme of the initial weights.
        """
        super().__init__(init)
        self.conv = nn.Conv2d(channels, stem, 3, padding=1, bias=False)
        groups, before = nn.Sequential(), stem
        for index, size in enumerate(filters):
            group = nn.Sequential()
            for i in range(blocks):
                group.append(PreActivated(before, size, 2 if index and not i else 1, drop))
                before = size
            groups.append(group)
        self.groups, self.bn = groups, nn.BatchNorm2d(before)
        self.classifier = nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) to logits (N, classes)."""
        x = relu(self.bn(self.groups(self.conv(x))), inplace=True)
        return self.classifier(x.mean((2, 3)))


def wrn(depth: int) -> Callable[..., nn.Module]:
    """Make the menu entry of a wide ResNet: three groups of n blocks, 16, 32 and 64 filters times the width.

    Args:
        depth: 6n+4, e.g. 22 or 28. Shortcut convolutions are not counted in it.
    """

    def network(
        classes: int,
        channels: int,
        *,
        width: Width = 2.0,
        small: Small = 1.0,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3,
        init: Scheme = "kaiming_normal_fan_out_uniform_fc",
    ) -> nn.Module:
        """Build a wide ResNet; with its defaults wrn22 is the WRN-22-2 of Evci et al. 2020 and the RigL report.

        Differs from the RigL report's code: the average pool takes an image of any size, and the outputs are
        logits, where theirs are log-probabilities.

        Args:
            classes: number of outputs.
            channels: channels of the images.
            width: factor on the filters of the groups, not on the stem's 16; above 0.
            small: fraction of the parameters to shrink to, by fewer filters everywhere (see `scaled`).
            dropout: probability of dropout before the second convolution of each block; 0 for none.
            init: scheme of the initial weights.
        """
        filters = [scaled(f, width, small) for f in (16, 32, 64)]
        blocks, stem = (depth - 4) // 6, scaled(16, 1.0, small)
        return WideResNet(blocks, stem, filters, classes, channels, dropout, init)

    network.__name__ = network.__qualname__ = f"wrn{depth}"
    return network
