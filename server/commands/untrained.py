# SPDX-License-Identifier: Apache-2.0
"""The command that draws a network, for models that integers learn from the start."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from server.commands.arrays import parse_classes, read_samples, to_slots
from server.commands.console import AsJson, command, print_facts, print_json, write_output, wrong
from server.commands.model_file import check_output
from server.learning.base_model import fit_normaliser, to_onnx
from server.learning.float_reference import init_params

MAX_WIDTH = 65535


def init(
    data: Annotated[Path, typer.Option("--data", help="npz with samples of the first classes.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
    hidden: Annotated[str, typer.Option(help="Widths of the hidden layers.")] = "128,128",
    classes: Annotated[
        str | None,
        typer.Option("--classes", help="Use only rows of these classes, such as 0-5 or cat,dog."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the drawn weights.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Draw an untrained dense network as ONNX, for a model without any float training.

    Its weights are random, its normaliser is that of the samples, it has an output for each of
    their classes. Quantize it with the same samples, then let `learn` teach it those classes with
    the device's arithmetic; later classes come as to any other model.

    \b
    Examples:
      hadapt init --data first.npz --hidden 32 -o drawn.onnx
      hadapt quantize drawn.onnx --data first.npz -o drawn.hadapt
      hadapt learn drawn.hadapt --data first.npz --steps 600 -o model.hadapt
    """
    with command(as_json):
        check_output(output, ".onnx")
        samples = read_samples(data, None).of_classes(parse_classes(classes))
        _, names = to_slots(samples, ())
        if len(names) < 2:
            raise wrong(f"one class, {names[0]}", "--data", "samples of at least two classes")
        sizes: tuple[int, ...] = (samples.x.shape[1], *_widths(hidden), len(names))
        params = init_params(sizes, np.random.default_rng(seed))
        network = to_onnx(params, fit_normaliser(samples.x), name=output.stem)
        write_output(output, network.SerializeToString())
        facts = {"features": sizes[0], "classes": len(names), "layers": "-".join(map(str, sizes))}
        if as_json:
            print_json({**facts, "file": str(output)})
        else:
            print_facts("untrained network", {"file": str(output), **facts})


def _widths(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(p.isascii() and p.isdigit() and 1 <= int(p) <= MAX_WIDTH for p in parts):
        expected = f"widths from 1 to {MAX_WIDTH} with commas between, as 128,128"
        raise wrong(text, "--hidden", expected)
    return tuple(map(int, parts))
