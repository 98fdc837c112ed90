# SPDX-License-Identifier: Apache-2.0
"""The class-incremental methods: what a session draws from, learns from and is judged by.

Every method is a recipe over the same integer learner (device/SPEC.md 6, 8): its batches, its loss,
its head. In all of them integer arithmetic changed this against the papers: 4-bit operands and
saturating tiles in the Hadamard domain, plain SGD with stochastic rounding, exemplars stored as the
4-bit input of the first trainable layer, features that are 4-bit and not normalised.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from codegen.quantize.options import DER, MEMO

Method = Literal["ncm", "finetune", "replay", "lwf", "icarl", "bic", "memo", "der_expandable"]
Sampling = Literal["uniform", "balanced", "new_uniform", "new_balanced"]
METHODS: tuple[Method, ...] = get_args(Method)

LINEAR, NEAREST_MEAN = 0, 1
TEMPERATURES = (1, 2, 4, 8)
DEFAULT_TEMPERATURE = 2
MAX_WEIGHT = 255  # in 1/256
KNOWN_CLASSES_WEIGHT = 128  # where a session brings no new class
# A fifth: with T^2 in the loss, T = 2, the gradients of both losses are as 2 to 1. DECISIONS.md.
FIFTH = 51


@dataclass(frozen=True)
class Recipe:
    """A method.

    Attributes:
        sampling: of the batches (SPEC.md 8.2).
        trains: whether there are training steps.
        distils: whether old outputs are kept by distillation (SPEC.md 6.6).
        share: of the distillation loss, in 1/256; None: that of the known classes.
        head: by which head it decides: LINEAR or NEAREST_MEAN.
        expansion: what the model must have been quantized with, where a session grows (SPEC.md 16).
        hold, correction_steps: hold-out and steps of bias correction (SPEC.md 8.8); 0: none.
    """

    sampling: Sampling = "balanced"
    trains: bool = True
    distils: bool = False
    share: int | None = None
    head: int = LINEAR
    hold: int = 0
    correction_steps: int = 0
    expansion: str | None = None

    @property
    def correction(self) -> tuple[int, int]:
        """Arguments of the commit."""
        return self.hold, self.correction_steps


def ncm() -> Recipe:
    """Nearest class mean of the network's features; nothing is trained.

    Source: Mensink et al., Distance-Based Image Classification, TPAMI 35(11), 2013. Changed: means
    are kept as sums, distances compared by cross-multiplication, no learned metric.
    """
    return Recipe(trains=False, head=NEAREST_MEAN)


def finetune() -> Recipe:
    """Train on the new samples alone: the lower bound. Nothing else is changed."""
    return Recipe(sampling="new_balanced")


def replay() -> Recipe:
    """Train on new samples and exemplars, each class as often as the others.

    Source: Chaudhry et al., On Tiny Episodic Memories in Continual Learning, arXiv 1902.10486.
    Changed: one batch is drawn from both, exemplars are chosen by herding.
    """
    return Recipe()


def lwf() -> Recipe:
    """New samples alone, with distillation from the old outputs; no exemplars are trained on.

    Source: Li and Hoiem, Learning without Forgetting, ECCV 2016. Changed: the old outputs are taken
    once, as 8-bit probabilities; temperature a power of two; there is no warm-up of the new rows;
    the weights of both losses add up to one.
    """
    return Recipe(sampling="new_balanced", distils=True)


def icarl() -> Recipe:
    """Exemplars by herding, distillation, and decisions by the nearest mean of exemplars.

    Source: Rebuffi et al., iCaRL, CVPR 2017. Changed: softmax cross-entropy and softened softmax
    distillation (as most later work has it) in place of sigmoids a class, with a fixed share of the
    loss; features are not normalised before means and herding, whose comparisons are exact in
    64-bit integers; classes are drawn evenly.
    """
    return Recipe(distils=True, share=FIFTH, head=NEAREST_MEAN)


def bic() -> Recipe:
    """Replay and distillation, then a linear correction of the new classes' logits.

    Source: Wu et al., Large Scale Incremental Learning, CVPR 2019 (BiC). Changed: a quarter of the
    smallest class is held out of each; the correction is fitted at the commit, in eight steps by
    the signs of exact gradients (few held-out samples are soon learned by heart), to alpha in Q12
    and beta in the logit grid; only the latest new classes are corrected; distillation has a fixed
    share of the loss. The model must be quantized with bias_correction.
    """
    return Recipe(sampling="uniform", distils=True, share=FIFTH, hold=2, correction_steps=8)


def memo() -> Recipe:
    """Replay; each task adds a block of rows to the last hidden layer and freezes all others.

    Source: Zhou et al., A Model or 603 Exemplars: Towards Memory-Efficient Class-Incremental
    Learning, ICLR 2023 (MEMO). Changed: blocks are rows of one dense layer, reserved beforehand
    and drawn when their task comes; the layers before it stay frozen from the first task on; no
    auxiliary loss; classes are drawn evenly in place of aligning the head's weights.
    """
    return Recipe(expansion=MEMO)


def der_expandable() -> Recipe:
    """Replay; each task adds a block of rows to every hidden layer, which reads its own alone.

    Source: Yan et al., DER: Dynamically Expandable Representation for Class Incremental Learning,
    CVPR 2021. Changed: narrow blocks reserved beforehand in place of whole networks that are pruned
    by learned masks; no auxiliary classifier; classes are drawn evenly in place of a second stage
    that trains the head on balanced samples.
    """
    return Recipe(expansion=DER)


RECIPES: dict[Method, Recipe] = {
    "ncm": ncm(),
    "finetune": finetune(),
    "replay": replay(),
    "lwf": lwf(),
    "icarl": icarl(),
    "bic": bic(),
    "memo": memo(),
    "der_expandable": der_expandable(),
}


@dataclass(frozen=True)
class Distillation:
    """Arguments of `train_begin`: weight in 1/256, log2 of the temperature (SPEC.md 6.6)."""

    weight: int = 0
    soften: int = 0


NO_DISTILLATION = Distillation()


def distillation_of(
    method: Method,
    known_classes: int,
    class_count: int,
    weight: float | None = None,
    temperature: int | None = None,
) -> Distillation:
    """How a session of a method distils.

    Args:
        known_classes: before the session; class_count: after it.
        weight: share of the distillation loss, in [0, 1); by default the method's own, or that of
            the known classes (Wu et al., CVPR 2019), a half if none is new.
        temperature: one of TEMPERATURES.
    """
    if not RECIPES[method].distils or known_classes < 1:
        return NO_DISTILLATION
    own = RECIPES[method].share
    if weight is not None:
        share = min(MAX_WEIGHT, round(256 * weight))
    elif own is not None:
        share = own
    elif class_count > known_classes:
        share = min(MAX_WEIGHT, 256 * known_classes // class_count)
    else:
        share = KNOWN_CLASSES_WEIGHT
    if share == 0:
        return NO_DISTILLATION
    chosen = DEFAULT_TEMPERATURE if temperature is None else temperature
    return Distillation(share, TEMPERATURES.index(chosen))


def wrong_option(method: Method, options: dict[str, Any]) -> tuple[str, str, str] | None:
    """The first option that an update of a method cannot take: name, what, what would be right."""
    allowed = ("distillation_weight", "temperature") if RECIPES[method].distils else ()
    for name in sorted(options):
        value = options[name]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if name not in allowed:
            return name, "unknown option", ", ".join(allowed) or f"no options for {method}"
        if name == "distillation_weight" and not (number and 0 <= value < 1):
            return name, f"value {value!r}", "a number from 0, less than 1"
        if name == "temperature" and (not number or value not in TEMPERATURES):
            return name, f"value {value!r}", "one of 1, 2, 4, 8"
    return None
