"""What the networks of the menu have in common: facts that the rest of the house asks for, and their size."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from ..errors import ReproError
from .init import BIAS_FACTOR, SCALED_BIASES, Scheme

Family = Literal["vgg", "resnet"]
Width = Annotated[float, Field(gt=0)]
Small = Annotated[float, Field(gt=0, le=1)]
Factor = Annotated[float, Field(ge=0)]


class Network(nn.Module):
    """A network of the menu: it takes images (N, C, H, W) and gives logits (N, classes).

    Args:
        init: scheme of the initial weights, a name in `INITS`.
        bias_factor: factor on the scale of the biases in the schemes of `SCALED_BIASES`, at least 0.

    Raises:
        ReproError: the factor is set, and the scheme has no use for it.
    """

    family: Family = "resnet"  # on which the smart ratio's scaling depends
    minimum_size: int = 1  # of an image's side, in pixels
    zero_gammas: tuple[str, ...] = ()  # names of batch norms whose scale starts at 0

    def __init__(self, init: Scheme, bias_factor: float = BIAS_FACTOR) -> None:
        """Take down the scheme of the initial weights."""
        super().__init__()
        if bias_factor != BIAS_FACTOR and init not in SCALED_BIASES:
            users = ", ".join(SCALED_BIASES)
            raise ReproError(f"model.bias_factor: not used by init {init!r}, only by {users}; remove it")
        self.init, self.bias_factor = init, bias_factor


def scaled(filters: int, width: float, small: float = 1.0) -> int:
    """Scale a number of filters, rounding down but never below one.

    Filters times sqrt(small) leave about that fraction of the parameters: the Small-Dense baseline of Evci et
    al. 2020, rounded as in the RigL report's code.

    Args:
        filters: filters of the original layer, at least 1.
        width: factor, above 0.
        small: fraction of the parameters of a network of that width, in (0, 1].
    """
    return max(1, int(filters * width * math.sqrt(small) + 1e-9))
