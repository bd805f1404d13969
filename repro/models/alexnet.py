"""AlexNet for small images (Krizhevsky et al. 2012, in the form that Gohil et al. 2020 train)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from .dropout import Dropout
from .init import Scheme
from .network import Network, Small, Width, scaled

SIDE = 2  # of the images that reach the linear layers, in pixels
# Filters of the 3x3 convolutions, the first of which has stride 2; "M" is a 2x2 max pool.
PLAN: tuple[int | str, ...] = (64, "M", 192, "M", 384, 256, 256, "M")
NEURONS = 4096  # of each of the two hidden linear layers


class AlexNet(Network):
    """Five convolutions with ReLU, three max pools, and three linear layers with nine tenths of the weights.

    Its family is "vgg": as there, nothing but one layer after the other and far more weights towards the end,
    for which Su et al. divide by the square of the position; and answer42's count, the convolutions and three
    more, gives all eight layers.
    """

    family = "vgg"
    minimum_size = 15  # the first convolution leaves 8x8, three max pools 1x1

    def __init__(
        self,
        plan: Sequence[int | str],
        neurons: int,
        classes: int,
        channels: int,
        drop: float,
        init: Scheme,
    ) -> None:
        """Lay out the network.

        Args:
            plan: filters of each convolution, and "M" where a max pool stands.
            neurons: neurons of each hidden linear layer.
            classes: number of outputs.
            channels: channels of the images.
            drop: probability of dropout before each hidden linear layer; at 0 there is no such layer, and all
                others are called as they were.
            init: scheme of the initial weights.
        """
        super().__init__(init)
        layers: list[nn.Module] = []
        for item in plan:
            if isinstance(item, str):
                layers.append(nn.MaxPool2d(2))
                continue
            layers.append(nn.Conv2d(channels, item, 3, stride=1 if layers else 2, padding=1))
            layers.append(nn.ReLU(inplace=True))
            channels = item
        self.features, self.pool = nn.Sequential(*layers), nn.AdaptiveAvgPool2d(SIDE)
        self.classifier, before = nn.Sequential(), channels * SIDE**2
        for _ in range(2):
            self.classifier.append(Dropout(drop) if drop else nn.Identity())
            self.classifier.append(nn.Linear(before, neurons))
            self.classifier.append(nn.ReLU(inplace=True))
            before = neurons
        self.classifier.append(nn.Linear(before, classes))

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) to logits (N, classes); H and W at least 15."""
        return self.classifier(self.pool(self.features(x)).flatten(1))


def alexnet(
    classes: int,
    channels: int,
    *,
    width: Width = 1.0,
    small: Small = 1.0,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5,
    init: Scheme = "xavier_normal",
) -> nn.Module:
    """Build AlexNet with 3x3 convolutions, which have biases, and without any normalisation.

    Source: Gohil et al. 2020, authors' code.
    Differs from it: an average pool brings what is left of an image to 2x2, so that images of any size from
    15x15 on will do, where theirs must be 32x32. Those of 31x31 to 46x46 come out as 2x2 anyway and go
    through unchanged; of smaller ones, as 28x28, one pixel is left, which the linear layers see four times.

    Args:
        classes: number of outputs.
        channels: channels of the images.
        width: factor on every number of filters and of hidden neurons, above 0.
        small: fraction of the parameters to shrink to, by fewer filters and neurons everywhere (see `scaled`).
        dropout: probability of dropout before each of the two hidden linear layers; 0 for none.
        init: scheme of the initial weights.
    """
    plan = [x if isinstance(x, str) else scaled(x, width, small) for x in PLAN]
    return AlexNet(plan, scaled(NEURONS, width, small), classes, channels, dropout, init)
