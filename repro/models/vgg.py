"""VGG with batch norm for small images (Simonyan and Zisserman 2015, in the form of the CIFAR works)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from .init import BIAS_FACTOR, Scheme
from .network import Factor, Network, Small, Width, scaled

# Filters of the 3x3 convolutions; "M" is a 2x2 max pool. No fifth one: an average pool ends the plan.
PLANS: dict[int, tuple[int | str, ...]] = {
    11: (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512),
    13: (64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512),
    16: (64, 64, "M", 128, 128, "M", *[256] * 3, "M", *[512] * 3, "M", *[512] * 3),
    19: (64, 64, "M", 128, 128, "M", *[256] * 4, "M", *[512] * 4, "M", *[512] * 4),
}


class VGG(Network):
    """The network: convolutions with batch norm and ReLU, four max pools, an average pool, one linear layer.

    Differs from the references: the average pool adapts to the size of the image, where Su et al. choose its
    kernel from the number of classes; values are the same for 32x32 and 64x64 images.
    """

    family = "vgg"
    minimum_size = 16

    def __init__(
        self,
        plan: Sequence[int | str],
        classes: int,
        channels: int,
        conv_bias: bool,
        bn_affine: bool,
        fc_bias: bool,
        init: Scheme,
        bias_factor: float,
    ) -> None:
        """Lay out the network; the arguments are those of the menu's entry, with its plan of filters and pools."""
        super().__init__(init, bias_factor)
        layers: list[nn.Module] = []
        for item in plan:
            if isinstance(item, str):
                layers.append(nn.MaxPool2d(2))
                continue
            layers.append(nn.Conv2d(channels, item, 3, padding=1, bias=conv_bias))
            layers += [nn.BatchNorm2d(item, affine=bn_affine), nn.ReLU(inplace=True)]
            channels = item
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, classes, bias=fc_bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) to logits (N, classes); H and W at least 16."""
        return self.classifier(self.pool(self.features(x)).flatten(1))


def vgg(depth: int) -> Callable[..., nn.Module]:
    """Make the menu entry of VGG-`depth`.

    Args:
        depth: 11, 13, 16 or 19.
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
        init: Scheme = "kaiming_normal_fan_out",
        bias_factor: Factor = BIAS_FACTOR,
    ) -> nn.Module:
        """Build VGG with batch norm.

        Args:
            classes: number of outputs.
            channels: channels of the images.
            width: factor on every number of filters, above 0.
            small: fraction of the parameters to shrink to, by fewer filters everywhere (see `scaled`).
            conv_bias: bias in convolutions, as Su et al. and Gohil et al. have it; the GraSP code has none.
            bn_affine: scale and shift in batch norm; the SNIP code of answer42 has none for VGG-19.
            fc_bias: bias in the linear layer.
            init: scheme of the initial weights; Su et al. use "kaiming_normal_fan_in" for VGG.
            bias_factor: factor on the scale of the initial biases, in schemes that have one.
        """
        plan = [x if isinstance(x, str) else scaled(x, width, small) for x in PLANS[depth]]
        return VGG(plan, classes, channels, conv_bias, bn_affine, fc_bias, init, bias_factor)

    network.__name__ = network.__qualname__ = f"vgg{depth}"
    return network
