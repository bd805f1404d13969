"""Residual networks for small images (He et al. 2016): the 6n+2 family and ResNet-18, 34 and 50."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn.functional import relu

from ..errors import ReproError, pick
from .init import BIAS_FACTOR, Scheme
from .network import Factor, Network, Small, Width, scaled

Block = Literal["basic", "bottleneck"]
Stem = Literal["cifar", "imagenet"]

EXPANSION = {"basic": 1, "bottleneck": 4}  # channels put out per filter
STEMS = {"cifar": (3, 1), "imagenet": (7, 2)}  # kernel and stride of the first convolution


class Residual(nn.Module):
    """A residual block; where the shape changes the shortcut has a 1x1 convolution ("option B")."""

    def __init__(
        self, inputs: int, filters: int, stride: int, block: Block, bias: bool, affine: bool
    ) -> None:
        """Lay out the block.

        Args:
            inputs: channels coming in.
            filters: filters of the block; a bottleneck puts out four times as many.
            stride: 1, or 2 to halve the side of the image.
            block: two 3x3 convolutions, or 1x1, 3x3 (which has the stride) and 1x1.
            bias: bias in the convolutions.
            affine: scale and shift in batch norm.
        """
        super().__init__()
        outputs, branch, before = filters * EXPANSION[block], nn.Sequential(), inputs
        plan = [(3, stride, filters), (3, 1, filters)]
        if block == "bottleneck":
            plan = [(1, 1, filters), (3, stride, filters), (1, 1, outputs)]
        for kernel, step, after in plan:
            if len(branch):
                branch.append(nn.ReLU(inplace=True))
            branch.append(nn.Conv2d(before, after, kernel, step, padding=kernel // 2, bias=bias))
            branch.append(nn.BatchNorm2d(after, affine=affine))
            before = after
        self.branch, self.shortcut = branch, nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut.append(nn.Conv2d(inputs, outputs, 1, stride, bias=bias))
            self.shortcut.append(nn.BatchNorm2d(outputs, affine=affine))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        out = self.branch(x)
        out += self.shortcut(x)  # in place, as the ReLU: two passes through memory less
        return relu(out, inplace=True)


class ResNet(Network):
    """Stem, stages of residual blocks (each but the first halves the side), global average pool, linear."""

    def __init__(
        self,
        blocks: Sequence[int],
        filters: Sequence[int],
        classes: int,
        channels: int,
        block: Block,
        conv_bias: bool,
        bn_affine: bool,
        fc_bias: bool,
        init: Scheme,
        bias_factor: float,
        stem: Stem = "cifar",
        zero_init: bool = False,
    ) -> None:
        """Lay out the network.

        Args:
            blocks: number of blocks of each stage.
            filters: filters of the first stage and the stem; each later stage has twice as many.
            classes: number of outputs.
            channels: channels of the images.
            block: type of the residual blocks.
            conv_bias: bias in the convolutions.
            bn_affine: scale and shift in batch norm.
            fc_bias: bias in the linear layer.
            init: scheme of the initial weights.
            bias_factor: factor on the scale of the initial biases, in schemes that have one.
            stem: "cifar" is a 3x3 convolution, "imagenet" a 7x7 with stride 2 and a max pool.
            zero_init: start the last batch norm of each block at scale 0.

        Raises:
            ReproError: an unknown block or stem, or a scale to start at 0 where there is none.
        """
        super().__init__(init, bias_factor)
        if zero_init and not bn_affine:
            raise ReproError(
                "model.zero_init_residual: batch norm has no scales without bn_affine; remove one"
            )
        pick(EXPANSION, block, "block")
        kernel, stride = pick(STEMS, stem, "stem")
        self.conv = nn.Conv2d(channels, filters[0], kernel, stride, padding=kernel // 2, bias=conv_bias)
        self.bn = nn.BatchNorm2d(filters[0], affine=bn_affine)
        self.pool = nn.MaxPool2d(3, 2, padding=1) if stem == "imagenet" else nn.Identity()
        stages, before = [], filters[0]
        for stage, (count, size) in enumerate(zip(blocks, filters, strict=True)):
            layers = []
            for i in range(count):
                stride = 2 if stage and not i else 1
                layers.append(Residual(before, size, stride, block, conv_bias, bn_affine))
                before = size * EXPANSION[block]
            stages.append(nn.Sequential(*layers))
        self.stages = nn.Sequential(*stages)
        self.classifier = nn.Linear(before, classes, bias=fc_bias)
        found = [(name, module) for name, module in self.named_modules() if isinstance(module, Residual)]
        last = tuple(f"{name}.branch.{len(module.branch) - 1}" for name, module in found)
        self.zero_gammas = last if zero_init else ()

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) to logits (N, classes)."""
        x = self.stages(self.pool(relu(self.bn(self.conv(x)), inplace=True)))
        return self.classifier(x.mean((2, 3)))


def resnet_6n2(depth: int) -> Callable[..., nn.Module]:
    """Make the menu entry of a ResNet of the 6n+2 family: three stages of n blocks, 16, 32 and 64 filters.

    Args:
        depth: 6n+2, e.g. 20 or 32. Shortcut convolutions are not counted in it.
    """

    def network(
        classes: int,
        channels: int,
        *,
        width: Width = 1.0,
        small: Small = 1.0,
        conv_bias: bool = False,
        bn_affine: bool = True,
        fc_bias: bool = True,
        block: Block = "basic",
        init: Scheme = "kaiming_normal_fan_out",
        bias_factor: Factor = BIAS_FACTOR,
    ) -> nn.Module:
        """Build a ResNet of the 6n+2 family.

        Differs from Su et al.'s code: blocks stay basic at any depth, where theirs become bottlenecks from
        depth 54 on (block "bottleneck" gives theirs). Their filters 32, 64, 128 are width 2.

        Args:
            classes: number of outputs.
            channels: channels of the images.
            width: factor on every number of filters, above 0.
            small: fraction of the parameters to shrink to, by fewer filters everywhere (see `scaled`).
            conv_bias: bias in convolutions.
            bn_affine: scale and shift in batch norm.
            fc_bias: bias in the linear layer.
            block: type of the residual blocks.
            init: scheme of the initial weights.
            bias_factor: factor on the scale of the initial biases, in schemes that have one.
        """
        filters = [scaled(f, width, small) for f in (16, 32, 64)]
        blocks = [(depth - 2) // 6] * 3
        return ResNet(
            blocks, filters, classes, channels, block, conv_bias, bn_affine, fc_bias, init, bias_factor
        )

    network.__name__ = network.__qualname__ = f"resnet{depth}"
    return network


def resnet(depth: int, block: Block, blocks: Sequence[int]) -> Callable[..., nn.Module]:
    """Make the menu entry of ResNet-18, 34 or 50: four stages, 64 to 512 filters.

    Args:
        depth: what the network is called by.
        block: type of the residual blocks.
        blocks: number of blocks of each of the four stages.
    """

    def network(
        classes: int,
        channels: int,
        *,
        width: Width = 1.0,
        small: Small = 1.0,
        conv_bias: bool = False,
        bn_affine: bool = True,
        fc_bias: bool = True,
        stem: Stem = "cifar",
        zero_init_residual: bool = False,
        init: Scheme = "kaiming_normal_fan_out",
        bias_factor: Factor = BIAS_FACTOR,
    ) -> nn.Module:
        """Build a four-stage ResNet.

        Args:
            classes: number of outputs.
            channels: channels of the images.
            width: factor on every number of filters, above 0.
            small: fraction of the parameters to shrink to, by fewer filters everywhere (see `scaled`).
            conv_bias: bias in convolutions; Gadhikar et al.'s strong tickets have it.
            bn_affine: scale and shift in batch norm; Gadhikar et al.'s strong tickets have none.
            fc_bias: bias in the linear layer; Gadhikar et al.'s code has none, but for strong tickets.
            stem: "imagenet" is what Gohil et al. use, even for 32x32 images (16 times fewer FLOPs).
            zero_init_residual: start the last batch norm of each block at scale 0, as the RigL report does.
            init: scheme of the initial weights.
            bias_factor: factor on the scale of the initial biases, in schemes that have one.
        """
        filters = [scaled(f, width, small) for f in (64, 128, 256, 512)]
        biases = conv_bias, bn_affine, fc_bias
        return ResNet(
            blocks, filters, classes, channels, block, *biases, init, bias_factor, stem, zero_init_residual
        )

    network.__name__ = network.__qualname__ = f"resnet{depth}"
    return network
