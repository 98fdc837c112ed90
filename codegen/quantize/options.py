# SPDX-License-Identifier: Apache-2.0
"""What a user chooses when a model is quantized."""

from dataclasses import dataclass, field

from codegen.errors import INFERENCE_ONLY, QuantizeError
from device.twin.model import Arithmetic

MEMO, DER = "memo", "der_expandable"
EXPANSIONS = (MEMO, DER)
MIN_CLASSES = 2
MAX_CLASSES = 250
SPARE_CLASSES = 4
MAX_SLOTS = 65535


@dataclass(frozen=True)
class QuantizeOptions:
    """Choices of `quantize`; the defaults suit a small classifier.

    Attributes:
        arithmetic: Hadamard order, tiles, accumulator, master width, batch.
        train_last: how many layers, counted from the head, are trainable; None: all dense ones.
            More than those reach into the convolutions before them (SPEC.md 14). The others
            become frozen int8 layers.
        max_classes: class rows reserved; None: those of the model and four more, at most 250.
        exemplar_slots: samples kept between sessions.
        staging_slots: further samples a session can take in.
        per_class_limit: most exemplars a class may keep; 0: no limit but the shared memory.
        keep_prototypes: keep class means of the features for nearest-mean decisions.
        distillation: the firmware itself can train by lwf, icarl and finetune (SPEC.md 6.6); costs
            a byte a class for every slot. The host can in any case.
        bias_correction: the logits of new classes can be corrected (SPEC.md 8.8), for method bic;
            brings distillation along.
        features: features of a raw signal that the device takes itself (SPEC.md 15), such as
            "window-stats:axes=6,window=125" or "mfcc:rate=8000,window=8000"; None: samples are
            features.
        expansion: rows reserved for tasks to come (SPEC.md 16): "memo" in the last hidden layer,
            "der_expandable" in all trained ones; None: none.
        expansion_blocks, expansion_rows: blocks, one a task, and rows of one in a layer.
        inference_only: the network only runs (SPEC.md 17): autoencoders, regressors, embeddings.
            Of the other options only `features` is used then.
        fine_inference: inference reads activations of twice four bits (SPEC.md 18): more accurate,
            at about twice the products of an inference; training is as without. None: without;
            the service then judges by the calibration samples.
    """

    arithmetic: Arithmetic = field(default_factory=Arithmetic)
    train_last: int | None = None
    max_classes: int | None = None
    exemplar_slots: int = 100
    staging_slots: int = 40
    per_class_limit: int = 0
    keep_prototypes: bool = True
    distillation: bool = False
    bias_correction: bool = False
    features: str | None = None
    expansion: str | None = None
    expansion_blocks: int = 4
    expansion_rows: int = 16
    inference_only: bool = False
    fine_inference: bool | None = None

    def classes_for(self, n_classes: int) -> int:
        """Class rows to reserve for a model of `n_classes`.

        Raises: QuantizeError if the model has more outputs than the format has classes, or
            `max_classes` is smaller than the model, or beyond the format.
        """
        if n_classes > MAX_CLASSES:
            raise QuantizeError(
                f"{n_classes} outputs",
                where="the model",
                expected=f"one output a class, 2 to {MAX_CLASSES} of them; {INFERENCE_ONLY}",
            )
        spare = min(n_classes + SPARE_CLASSES, MAX_CLASSES)
        wanted = spare if self.max_classes is None else self.max_classes
        least = max(n_classes, MIN_CLASSES)
        if not least <= wanted <= MAX_CLASSES:
            raise QuantizeError(
                f"max_classes is {wanted}",
                where="options",
                expected=f"{least} to {MAX_CLASSES}, and not less than the model's {n_classes}",
            )
        return wanted

    def layers_to_train(self, n_layers: int) -> int:
        """How many of `n_layers` dense layers are trainable, where no convolution is.

        Raises: QuantizeError if `train_last` is out of range.
        """
        wanted = n_layers if self.train_last is None else self.train_last
        if not 1 <= wanted <= n_layers:
            raise QuantizeError(
                f"train_last is {wanted}",
                where="options",
                expected=f"1 (the head) to {n_layers} (all layers)",
            )
        return wanted

    def check_slots(self, n_classes: int) -> None:
        """Raises: QuantizeError if the exemplar memory is impossible."""
        total = self.exemplar_slots + self.staging_slots
        if self.exemplar_slots < n_classes or self.staging_slots < 1 or total > MAX_SLOTS:
            raise QuantizeError(
                f"exemplar_slots is {self.exemplar_slots}, staging_slots {self.staging_slots}",
                where="options",
                expected=f"at least {n_classes} (one a class) and 1, at most {MAX_SLOTS} together",
            )
        if not 0 <= self.per_class_limit <= MAX_SLOTS:
            raise QuantizeError(
                f"per_class_limit is {self.per_class_limit}",
                where="options",
                expected=f"0 (none) to {MAX_SLOTS}",
            )
