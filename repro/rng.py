"""Randomness: every draw comes from an explicit generator, each purpose from its own stream."""

from __future__ import annotations

import hashlib

import torch


def stream(seed: int, *names: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Make the generator that belongs to a purpose, e.g. `stream(0, "order", epoch)`.

    Streams of different names are independent, so that a pruner that draws more numbers changes neither the
    initial weights nor the order of the data: runs with one seed stay paired.

    Args:
        seed: the seed of the run, any integer.
        names: what the numbers are for.
        device: where they are drawn; another device draws others.
    """
    return reseed(torch.Generator(device), seed, *names)


def reseed(generator: torch.Generator, seed: int, *names: str | int) -> torch.Generator:
    """Start a generator anew at the beginning of a purpose's stream, see `stream`, and give it back."""
    digest = hashlib.blake2b(repr((int(seed), *names)).encode(), digest_size=8).digest()
    return generator.manual_seed(int.from_bytes(digest, "little") >> 1)
