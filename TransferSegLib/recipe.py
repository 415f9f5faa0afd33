"""Recipe: every choice of a training run, with its default; `Docs/first_results.md` shows what each is worth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import InputError

# What each augmentation is, in the order in which they are applied, for the help, the card and the reader.
AUGMENTATIONS: Mapping[str, str] = {
    "flip": "left and right swapped in half of the samples",
    "affine": "rotation up to 15 degrees, scale up to 15 %, shift up to 8 voxels, in half of the samples",
    "bias": "smooth bias field up to about 30 %, each channel its own, in a third of the samples",
    "gamma": "contrast with gamma 0.7 to 1.5, mean and spread kept, each channel its own, in half of the samples",
    "shift": "scale and offset of up to 15 %, each channel its own, in every sample",
    "lowres": "voxels up to three times as large and back, each channel its own, in a third of the samples",
    "noise": "Gaussian noise up to a tenth of the standard deviation, in a third of the samples",
}


def option(default: Any, help: str) -> Any:
    """A field whose help text the command shows."""
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Raises
    ------
    InputError : a value makes no sense; names the option.
    """

    epochs: int = option(100, "Times that every training case is seen.")
    learning_rate: float = option(1e-2, "Adam's learning rate after the warm-up; it falls to 0 along a cosine.")
    warmup: float = option(0.05, "Share of the training in which the learning rate rises from 0.")
    weight_decay: float = option(0.0, "L2 pull of trained weights towards 0 (AdamW).")
    batch_size: int = option(1, "Samples a step; memory does not depend on it.")
    patch: int = option(0, "Train on cubes of so many voxels, which over-sample the foreground; 0: whole cases.")
    patches_per_case: int = option(1, "Patches of a case in each epoch.")
    augmentation: tuple[str, ...] = option(("flip",), f"Random changes: {', '.join(AUGMENTATIONS)}, or none.")
    class_weight_decay: float = option(
        0.8, "d: class weights fall as 1 + (w - 1) d^e, e from 0 to 100 over the training; 0: no class weights."
    )
    class_weight_form: str = option("to-one", "to-one: as above. plus-one: w d^e + 1.")
    dice_weight: float = option(
        1.0, "Weight of a soft Dice loss of the regions; 0: the paper's loss, cross-entropy alone."
    )
    settle: float = option(
        0.5, "With --statistics running: share of the training after which it uses the running ones."
    )
    patience: int = option(0, "Stop after so many epochs without a better validation score; 0: never.")
    precision: str = option("auto", "float32, bfloat16, or auto: bfloat16 where the processor is faster with it.")
    device: str = option("auto", "cpu, cuda, mps or auto.")
    seed: int = option(0, "Same seed, same machine, same result, to the bit, on the CPU.")

    def steps_per_epoch(self, cases: int) -> int:
        """Updates of the weights in an epoch over so many ``cases``."""
        return math.ceil(cases * self.patches_per_case / self.batch_size)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.augmentation) - set(AUGMENTATIONS))
        if unknown:
            raise InputError(
                f"There is no augmentation '{unknown[0]}'.", f"Choose from {', '.join(AUGMENTATIONS)}, or give 'none'."
            )
        checks = {
            "epochs": self.epochs >= 1,
            "learning-rate": 0 < self.learning_rate <= 1,
            "warmup": 0 <= self.warmup < 1,
            "weight-decay": 0 <= self.weight_decay < 1,
            "batch-size": self.batch_size >= 1,
            "patch": self.patch == 0 or (self.patch >= 16 and self.patch % 8 == 0),
            "patches-per-case": self.patches_per_case >= 1,
            "class-weight-decay": 0 <= self.class_weight_decay <= 1,
            "class-weight-form": self.class_weight_form in ("to-one", "plus-one"),
            "dice-weight": self.dice_weight >= 0,
            "settle": 0 <= self.settle <= 1,
            "patience": self.patience >= 0,
            "precision": self.precision in ("auto", "float32", "bfloat16"),
            "seed": 0 <= self.seed < 2**63,
        }
        for name, good in checks.items():
            if not good:
                value = getattr(self, name.replace("-", "_"))
                about = next(
                    f.metadata["help"] for f in self.__dataclass_fields__.values() if f.name == name.replace("-", "_")
                )
                raise InputError(f"--{name} cannot be {value}.", about)
