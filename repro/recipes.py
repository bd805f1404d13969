"""Named recipes: the training protocols of the reproduced works, which a grid starts from and overrides.

Sources: the published codes and papers as listed on the book's methods page. Milestones are fractions of the
schedule. Where a code counts epochs from 1, its first drop comes one epoch earlier than its paper says; we follow
the paper.
"""

from __future__ import annotations

from typing import Any

CIFAR = {"augment": "crop_flip"}
TINY = CIFAR | {"name": "tinyimagenet"}

RIGL: dict[str, Any] = {
    "data": {"augment": "reflect_crop_flip", "validation": 0.1},
    "optim": {
        "epochs": 250,
        "batch": 128,
        "lr": 0.1,
        "weight_decay": 5e-4,
        "decay_1d": False,
        "nesterov": True,
        "per_step": True,
        "gamma": 0.2,
        "milestones": [30000 / 88000, 60000 / 88000],
    },
}

RECIPES: dict[str, dict[str, Any]] = {
    # Su et al. 2020, authors' code: weight decay on everything, no Nesterov momentum
    "su2020": {"data": CIFAR, "optim": {"epochs": 160, "batch": 64, "lr": 0.1, "weight_decay": 1e-4}},
    # Su et al. 2020, authors' code: 300 epochs whatever is asked for, drops at 150 and 225
    "su2020-tiny": {
        "data": TINY,
        "optim": {"epochs": 300, "batch": 64, "lr": 0.1, "weight_decay": 1e-4},
    },
    # answer42, random tickets: the README's command
    "answer42": {"data": CIFAR, "optim": {"epochs": 160, "batch": 128, "lr": 0.1, "weight_decay": 5e-4}},
    # answer42, GraSP (as the GraSP authors): VGG-19 5e-4, ResNet-32 1e-4
    "grasp-vgg": {"data": CIFAR, "optim": {"epochs": 160, "batch": 128, "lr": 0.1, "weight_decay": 5e-4}},
    "grasp-resnet": {"data": CIFAR, "optim": {"epochs": 160, "batch": 128, "lr": 0.1, "weight_decay": 1e-4}},
    # the same on Tiny-ImageNet: 300 epochs
    "grasp-vgg-tiny": {"data": TINY, "optim": {"epochs": 300, "batch": 128, "lr": 0.1, "weight_decay": 5e-4}},
    "grasp-resnet-tiny": {
        "data": TINY,
        "optim": {"epochs": 300, "batch": 128, "lr": 0.1, "weight_decay": 1e-4},
    },
    # answer42, SNIP and partially trained tickets: pixel standard deviations
    "answer42-snip": {
        "data": CIFAR | {"normalise": "pixel"},
        "optim": {"epochs": 160, "batch": 64, "lr": 0.1, "weight_decay": 1e-4},
    },
    # Gohil et al. (Morcos et al.): the paper's recipe; the fork trains at 0.01 with weight decay 4e-3
    "gohil-vgg": {
        "data": CIFAR | {"normalise": "half"},
        "optim": {"epochs": 160, "batch": 512, "lr": 0.1, "weight_decay": 1e-4},
    },
    "gohil-resnet": {
        "data": CIFAR | {"normalise": "half"},
        "optim": {
            "epochs": 90,
            "batch": 512,
            "lr": 0.1,
            "weight_decay": 1e-4,
            "milestones": [50 / 90, 65 / 90, 80 / 90],
        },
    },
    "gohil-alexnet": {
        "data": CIFAR | {"normalise": "half"},
        "optim": {
            "epochs": 500,
            "batch": 512,
            "lr": 0.1,
            "weight_decay": 1e-4,
            "milestones": [450 / 500, 470 / 500, 480 / 500, 490 / 500],
        },
    },
    "gohil-fork-vgg": {
        "data": CIFAR | {"normalise": "half"},
        "optim": {"epochs": 160, "batch": 512, "lr": 0.01, "weight_decay": 4e-3},
    },
    "gohil-adam": {
        "data": CIFAR | {"normalise": "half"},
        "optim": {"epochs": 160, "batch": 512, "lr": 3e-4, "weight_decay": 1e-4, "optimizer": "adam"},
    },
    "gohil-adam-resnet": {
        "data": CIFAR | {"normalise": "half"},
        "optim": {
            "epochs": 90,
            "batch": 512,
            "lr": 3e-4,
            "weight_decay": 1e-4,
            "optimizer": "adam",
            "milestones": [50 / 90, 65 / 90, 80 / 90],
        },
    },
    # RigL replication, WRN-22-2 on CIFAR-10: 45,000 training images, 352 steps an epoch; no decay on 1-D tensors
    "rigl-cifar10": RIGL,
    # the same for gradual pruning and its lottery tickets: 10 epochs of warm-up, after which the schedule begins
    "rigl-cifar10-pruning": RIGL
    | {"optim": RIGL["optim"] | {"warmup": 10, "milestones": [30000 / 84480, 60000 / 84480]}},
    # RigL replication, ResNet-50 on CIFAR-100: 45,000 training images, 352 steps an epoch, 1,760 of warm-up
    "rigl-cifar100": {
        "data": {"augment": "resized_crop_flip", "normalise": "s003", "validation": 0.1},
        "optim": {
            "epochs": 250,
            "batch": 128,
            "lr": 0.1,
            "weight_decay": 1e-4,
            "decay_1d": False,
            "nesterov": True,
            "label_smoothing": 0.1,
            "warmup": 5,
            "per_step": True,
            "gamma": 0.2,
            "milestones": [20000 / 86240, 40000 / 86240, 60000 / 86240, 80000 / 86240],
        },
    },
    # Gadhikar et al.: random masks (code base of Liu et al. 2022), dynamic sparse training, STR
    "gadhikar-random": {
        "data": CIFAR,
        "optim": {"epochs": 160, "batch": 128, "lr": 0.1, "weight_decay": 5e-4, "nesterov": True},
    },
    "gadhikar-dst": {
        "data": {"augment": "reflect_crop_flip", "validation": 0.1},
        "optim": {"epochs": 160, "batch": 100, "lr": 0.1, "weight_decay": 5e-4, "nesterov": True},
    },
    "gadhikar-str": {
        "data": CIFAR | {"normalise": "s004"},
        "optim": {
            "epochs": 100,
            "batch": 256,
            "lr": 0.1,
            "weight_decay": 1e-3,
            "label_smoothing": 0.1,
            "warmup": 5,
            "schedule": "cosine",
        },
    },
    # the same code, rounds of pruning from a random mask: the rate falls to a tenth, 0.01, within each round
    "gadhikar-imp": {
        "data": CIFAR | {"normalise": "s004"},
        "optim": {
            "epochs": 150,
            "batch": 256,
            "lr": 0.1,
            "weight_decay": 1e-4,
            "schedule": "cosine",
            "floor": 0.1,
        },
    },
    # the same authors, strong tickets: five levels of 100 epochs, the README's command; milestones are those of a level
    "gadhikar-slt": {
        "data": {"normalise": "half"},
        "optim": {
            "epochs": 500,
            "batch": 128,
            "lr": 0.1,
            "weight_decay": 5e-4,
            "milestones": [30 / 100, 60 / 100, 90 / 100],
        },
    },
    # Tanaka et al. 2020, their settings of VGG-16 on CIFAR-100 and VGG-11 on CIFAR-10: drops at 60 and 120, Nesterov
    "synflow2020": {
        "data": CIFAR,
        "optim": {
            "epochs": 160,
            "batch": 128,
            "lr": 0.1,
            "weight_decay": 1e-4,
            "nesterov": True,
            "milestones": [60 / 160, 120 / 160],
        },
    },
    # Ramanujan et al. 2020, authors' code for small convolutional networks; their ResNet-18 takes 256 and 5e-4
    "edge-popup": {
        "data": CIFAR | {"normalise": "pixel"},
        "optim": {"epochs": 100, "batch": 128, "lr": 0.1, "weight_decay": 1e-4, "schedule": "cosine"},
    },
    # ours: real handwritten digits at their native 8 x 8 pixels, small enough for a laptop
    "digits": {
        "data": {"name": "digits", "augment": "crop"},
        "optim": {"epochs": 7, "batch": 64, "lr": 0.1, "weight_decay": 5e-4},
    },
}
