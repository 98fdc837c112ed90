# SPDX-License-Identifier: Apache-2.0
"""Options of a model's upload as JSON schema; a test holds them against the quantizer's own."""

from typing import Any


def _whole(text: str, low: int, high: int, default: int | None) -> dict[str, Any]:
    described = {"minimum": low, "maximum": high, "description": text}
    if default is None:
        return {"type": ["integer", "null"], **described}
    return {"type": "integer", "default": default, **described}


def _one_of(text: str, values: list[Any], default: Any) -> dict[str, Any]:
    return {"enum": values, "default": default, "description": text}


def _flag(text: str, default: bool) -> dict[str, Any]:
    return {"type": "boolean", "default": default, "description": text}


QUANTIZE_OPTIONS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "class_names": {
            "type": "array",
            "items": {"type": "string", "minLength": 1, "maxLength": 100},
            "description": "Different names, one an output; those of the file if left out.",
        },
        "train_last": _whole("Layers trained, from the head; all dense ones.", 1, 250, None),
        "max_classes": _whole("Class slots; four more than the model has.", 2, 250, None),
        "exemplar_slots": _whole("Samples kept; at least one a class.", 1, 65534, 100),
        "staging_slots": _whole("Further samples that a session takes.", 1, 65534, 40),
        "per_class_limit": _whole("Most exemplars of a class; 0: no limit.", 0, 65535, 0),
        "keep_prototypes": _flag("Class means, for decisions by the nearest.", True),
        "distillation": _flag("The firmware itself can train by lwf and icarl.", False),
        "bias_correction": _flag("For method bic; brings distillation along.", False),
        "features": {
            "type": ["string", "null"],
            "description": "Features of raw signals: window-stats:axes=6,window=125 or "
            "mfcc:rate=8000,window=8000.",
        },
        "expansion": {
            "enum": ["memo", "der_expandable", None],
            "description": "Rows reserved for tasks to come, for the method of that name.",
        },
        "expansion_blocks": _whole("Blocks of such rows, one a task.", 1, 65535, 4),
        "expansion_rows": _whole("Rows of a block in a layer.", 1, 65535, 16),
        "inference_only": _flag(
            "The network only runs, such as an autoencoder or a regressor; features is then the "
            "only other option.",
            False,
        ),
        "fine_inference": {
            "type": ["boolean", "null"],
            "description": "Inference reads activations of twice four bits: more accurate, twice "
            "the products. Left out: where that gives back half a per cent of float32's "
            "decisions on the calibration samples.",
        },
        "order": _one_of("Hadamard order; 1 is off.", [1, 4, 8, 16, 32, 64], 16),
        "tile_k": _whole("Terms of a tile.", 1, 1024, 32),
        "acc_bits": _one_of("Width of a tile's accumulator.", [8, 12, 16, 32], 8),
        "saturation": _one_of("When a tile saturates.", ["tile", "every_add"], "tile"),
        "master_bits": _one_of("Width of stored weights.", [8, 16], 16),
        "batch": _whole("Rows of a training step.", 1, 512, 32),
    },
}
