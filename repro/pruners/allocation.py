"""How the kept weights are shared out between layers: one density per layer, whatever the scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ..errors import ReproError
from ..models import Layer
from .smart_ratio import smart_ratio

Densities = dict[str, float]


def uniform(layers: Sequence[Layer], density: float) -> Densities:
    """Give every layer the density of the network."""
    return dict.fromkeys((x.name for x in layers), density)


def uniform_plus(layers: Sequence[Layer], density: float, *, redistribute: bool = True) -> Densities:
    """Keep the first layer dense and at least a fifth of the last; share the rest out evenly.

    Source: Gale et al. 2019; Liu et al. 2022 (random pruning), code.

    Args:
        layers: the layers, in order.
        density: of the network, in (0, 1].
        redistribute: whether the other layers share exactly what is left; off follows the reference.

    Raises:
        ReproError: the first and last layer alone exceed the budget, or there are no others.

    Differs from the reference: it divides what is left by the size of the whole network, and from density 0.2
    on gives all layers after the first the density of the network; both miss the budget a little.
    """
    total = sum(x.numel for x in layers)
    few = density < 0.2
    fixed = {x.name: 1.0 if x.role == "first" else 0.2 for x in layers if x.role in ("first", few and "last")}
    others = sum(x.numel for x in layers if x.name not in fixed)
    spent = sum(fixed[x.name] * x.numel for x in layers if x.name in fixed)
    if density * total < spent or not others:
        least = f"alone need a density of {spent / total:.3g}" if others else "are all there is"
        raise ReproError(f"uniform_plus: the first and last layer {least}; use another allocation")
    share = (density * total - spent) / others
    if not redistribute:
        share = share * others / total if few else density
    return {x.name: fixed.get(x.name, share) for x in layers}


def balanced(layers: Sequence[Layer], density: float, *, redistribute: bool = True) -> Densities:
    """Keep equally many weights in every layer, as far as layers are large enough.

    Source: Gadhikar et al. 2023 (balanced).

    Args:
        layers: the layers, in order.
        density: of the network, in (0, 1].
        redistribute: whether what small layers cannot take goes to the others, so that the density is met.

    Differs from the reference: it never redistributes, so that 0.5 asked for of ResNet-18 becomes 0.27; turn
    `redistribute` off for that.
    """
    wanted = density * sum(x.numel for x in layers)
    level = wanted / len(layers)
    if redistribute:
        sizes = sorted(x.numel for x in layers)
        for index, size in enumerate(sizes):
            level = wanted / (len(sizes) - index)
            if level <= size:
                break
            wanted -= size
    return {x.name: min(1.0, level / x.numel) for x in layers}


def er(layers: Sequence[Layer], density: float, *, redistribute: bool = True) -> Densities:
    """Make densities proportional to (in + out) / (in x out), the sparsity of an Erdos-Renyi graph.

    Source: Mocanu et al. 2018, equation 1.

    Args:
        layers: the layers, in order.
        density: of the network, in (0, 1].
        redistribute: see `erk`.
    """
    raw = {x.name: sum(x.shape[:2]) / math.prod(x.shape[:2]) for x in layers}
    return _proportional(layers, raw, density, redistribute)


def erk(layers: Sequence[Layer], density: float, *, redistribute: bool = True) -> Densities:
    """Make densities proportional to (in + out + height + width) / (in x out x height x width).

    Source: Evci et al. 2020 (RigL), section 3.

    Args:
        layers: the layers, in order.
        density: of the network, in (0, 1].
        redistribute: whether layers that would exceed 1 are made dense and their excess goes to the others,
            so that the density is met; off clips and loses it, as Gadhikar et al.'s STR code does.
    """
    raw = {x.name: sum(x.shape) / x.numel for x in layers}
    return _proportional(layers, raw, density, redistribute)


def _proportional(
    layers: Sequence[Layer], raw: dict[str, float], density: float, redistribute: bool
) -> Densities:
    """Scale `raw` to the density; make the layers of highest `raw` dense, in turn, while any exceeds 1."""
    wanted = density * sum(x.numel for x in layers)
    free = list(layers)
    while True:
        scale = wanted / math.fsum(raw[x.name] * x.numel for x in free)
        highest = max(raw[x.name] for x in free)
        if not redistribute or scale * highest <= 1:
            break
        full = [x for x in free if raw[x.name] == highest]
        if len(full) == len(free):  # density 1, up to rounding
            scale = math.inf
            break
        wanted -= sum(x.numel for x in full)
        free = [x for x in free if raw[x.name] != highest]
    names = {x.name for x in free}
    return {x.name: min(1.0, scale * raw[x.name]) if x.name in names else 1.0 for x in layers}


def pyramid(layers: Sequence[Layer], density: float) -> Densities:
    """Let densities fall geometrically with depth: r, r^2, r^3, ...

    Source: Gadhikar et al. 2023 (pyramidal).

    Args:
        layers: the layers, in order, on which the densities depend.
        density: of the network, in (0, 1].

    Differs from the reference: r is found by bisection rather than as a root of a polynomial of high degree.
    """
    sizes = [x.numel for x in layers]
    wanted = density * sum(sizes)
    low, high = 0.0, 1.0
    while (middle := (low + high) / 2) not in (low, high):
        if math.fsum(size * middle**i for i, size in enumerate(sizes, 1)) < wanted:
            low = middle
        else:
            high = middle
    return {x.name: high**i for i, x in enumerate(layers, 1)}


def induced(
    layers: Sequence[Layer],
    density: float,
    *,
    densities: tuple[float, ...] = (),
    like: str | None = None,
) -> Densities:
    """Give every layer the density that another mask has there: ER-snip, ER-imp, ER-synflow, STR-induced.

    Source: Gadhikar et al. 2023; Liu et al. 2022 (modes `snip` and `GraSP`). At another density than that of the
    other mask all layers are scaled alike, those that would exceed 1 are full, and the others share the rest.

    Args:
        layers: the layers, in order.
        density: of the network, in (0, 1].
        densities: fractions kept, in [0, 1], one for each layer in order; on a command line @file.json reads them.
        like: instead, words `section.key=value` that tell the run with the other mask from this one, e.g.
            "ticket.score=snip" or "sparse.method=str"; who calls this has made densities of them.

    Raises:
        ReproError: densities that are none, or of another number than the layers.

    Differs from the reference, which matches layers by position and takes an unknown name for full masks.
    """
    if len(densities) != len(layers):
        wrong = f"{len(densities)} densities for {len(layers)} layers"
        raise ReproError(f"ticket.densities: {wrong}; give one for each layer, in order")
    if not all(0 <= share <= 1 for share in densities) or not any(densities):
        raise ReproError("ticket.densities: fractions kept lie in [0, 1], and not all may be 0")
    raw = {x.name: share for x, share in zip(layers, densities, strict=True)}
    total = math.fsum(raw[x.name] * x.numel for x in layers)
    wanted = density * sum(x.numel for x in layers)
    if abs(total - wanted) < 0.5:
        return raw
    if sum(x.numel for x in layers if raw[x.name] > 0) < wanted:
        raise ReproError(f"ticket.densities: layers of density 0 leave no room for {density:g} in all")
    some = [x for x in layers if raw[x.name] > 0]
    share = wanted / sum(x.numel for x in some)
    return dict.fromkeys(raw, 0.0) | _proportional(some, raw, min(1.0, share), redistribute=True)


ALLOCATIONS: dict[str, Callable[..., Densities]] = {
    "uniform": uniform,
    "uniform_plus": uniform_plus,
    "balanced": balanced,
    "er": er,
    "erk": erk,
    "pyramid": pyramid,
    "smart_ratio": smart_ratio,
    "induced": induced,
}
