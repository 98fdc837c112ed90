# SPDX-License-Identifier: Apache-2.0
"""What a model remembers from the start: exemplars and prototypes (SPEC.md 8)."""

from dataclasses import replace

import numpy as np

from device.twin.exemplars import MAX_QUOTA, herd
from device.twin.kernels import IntArray
from device.twin.learner import TwinLearner
from device.twin.model import Exemplar, IntModel


def with_memory(
    model: IntModel, x0: IntArray, labels: IntArray | None, keep_prototypes: bool
) -> IntModel:
    """The model with first exemplars and prototypes, chosen by the device's own arithmetic.

    Args:
        x0: calibration samples, shape (N, x0 length).
        labels: class of each, shape (N,); None leaves the memory empty.
    """
    features, _ = TwinLearner(model).forward_x0(x0, TwinLearner(model).committed)
    exemplars: list[Exemplar] = []
    quota = min(model.exemplar_slots // model.n_classes, MAX_QUOTA)
    if model.per_class_limit:
        quota = min(quota, model.per_class_limit)
    for label in range(model.n_classes) if labels is not None else ():
        members = np.flatnonzero(labels == label)
        if len(members):
            order = members[herd(features[members], quota)]
            exemplars += [Exemplar(label, k, x0[i].astype(np.int8)) for k, i in enumerate(order)]
    model = replace(model, exemplars=tuple(exemplars))
    if not keep_prototypes:
        return model
    count = np.zeros(model.max_classes, np.uint16)
    total = np.zeros((model.max_classes, model.features), np.int16)
    model = replace(model, keep_prototypes=True, prototype_count=count, prototype_sum=total)
    if labels is None:
        return model
    prototypes = TwinLearner(model).working.prototypes
    for sample, label in zip(features, labels, strict=True):
        prototypes.add(int(label), sample)
    return replace(
        model,
        prototype_count=prototypes.count.astype(np.uint16),
        prototype_sum=prototypes.total.astype(np.int16),
    )
