"""The plain loop, in the manner of the published codes: what our speed is measured against.

Written from the methods page for Su et al. 2020 and answer42: a data loader with one call of PIL transforms per image,
eager float32 with channels first, SGD as torch has it by default, the mask read off the weights anew at every step,
loss and accuracy fetched from the device at every step. Its random numbers come from torch's global state, as theirs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

from ..data import AUGMENTATIONS, Data, Split
from ..masks import Masks
from ..settings import Settings

TEST_BATCH = 256  # answer42's GraSP code; Su et al. take 50


class Pictures(Dataset[tuple[Tensor, int]]):
    """A data set that decodes, augments and normalises one image at a time."""

    def __init__(self, split: Split, data: Data, s: Settings, train: bool) -> None:
        """Keep the images as arrays (H, W, C) and line up the transforms.

        Args:
            split: the images, uint8 (N, C, H, W).
            data: gives the normalisation constants.
            s: the augmentation is used here.
            train: whether to augment.
        """
        from torchvision import transforms as t

        self.arrays = split.images.cpu().permute(0, 2, 3, 1).squeeze(-1).contiguous().numpy()
        self.labels: list[int] = split.labels.tolist()
        rule, size = AUGMENTATIONS[s.data.augment], split.images.shape[-1]
        pad, border = rule.pad(size), {"zero": "constant", "reflect": "reflect"}[rule.border]
        random: list[Any] = [t.RandomCrop(size, padding=pad, padding_mode=border)] if pad else []
        random += [t.RandomResizedCrop(size)] if rule.resized else []
        random += [t.RandomHorizontalFlip()] if rule.flip else []
        fixed = [t.ToTensor(), t.Normalize(*data.constants(s.data.normalise))]
        self.transform = t.Compose([*(random if train else []), *fixed])

    def __len__(self) -> int:
        """Count the images."""
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Give one normalised image (C, H, W) and its label."""
        image: Any = Image.fromarray(self.arrays[index])
        return self.transform(image), self.labels[index]


def loader(split: Split, data: Data, s: Settings, *, train: bool, workers: int = 0) -> DataLoader[Any]:
    """Make the data loader: shuffled batches for training, plain order for evaluation.

    Args:
        split: the images.
        data: gives the normalisation constants.
        s: batch size and augmentation are used here.
        train: whether to shuffle and augment.
        workers: processes that prepare batches; 0 prepares them in this one.
    """
    batch = s.optim.batch if train else TEST_BATCH
    pinned = torch.cuda.is_available()
    made = Pictures(split, data, s, train)
    return DataLoader(made, batch, shuffle=train, num_workers=workers, pin_memory=pinned)


class PlainLoop:
    """A network and its optimiser, trained the plain way."""

    def __init__(self, model: nn.Module, s: Settings, masks: Masks | None = None) -> None:
        """Zero the pruned weights and make the optimiser.

        Args:
            model: the network at its initial weights, on its device; it is trained in place.
            s: rate, momentum and weight decay are used here; the optimiser must be SGD.
            masks: which weights may live; None for all.
        """
        if masks:
            masks.apply_(model)
        self.model, options = model, s.optim.options("optimizer")
        decay = s.optim.weight_decay
        self.optimizer = torch.optim.SGD(model.parameters(), s.optim.lr, weight_decay=decay, **options)

    def step(self, x: Tensor, y: Tensor) -> tuple[float, float]:
        """Update the weights once; give the loss and the accuracy in percent.

        Args:
            x: normalised images (N, C, H, W), on the device.
            y: labels (N,), int64.
        """
        self.optimizer.zero_grad()
        logits = self.model(x)
        loss = cross_entropy(logits, y)
        loss.backward()
        for module in self.model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear) and module.weight.grad is not None:
                kept = module.weight.detach().abs().gt(0).float()
                module.weight.grad.mul_(kept)
        self.optimizer.step()
        right = logits.argmax(dim=1).eq(y).sum()
        return loss.item(), 100.0 * right.item() / len(y)

    def epoch(self, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
        """Train on every batch; give the mean accuracy of the batches in percent."""
        self.model.train()
        where, seen = next(self.model.parameters()).device, []
        for x, y in batches:
            seen.append(self.step(x.to(where), y.to(where))[1])
        return sum(seen) / len(seen)

    @torch.no_grad()
    def evaluate(self, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
        """Give the accuracy on all batches in percent."""
        self.model.eval()
        where, right, total = next(self.model.parameters()).device, 0, 0
        for x, y in batches:
            logits = self.model(x.to(where))
            right += logits.argmax(dim=1).eq(y.to(where)).sum().item()
            total += len(y)
        return 100.0 * right / total
