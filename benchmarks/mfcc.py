# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.mfcc`: instructions, bytes and error of MFCC of a second (SPEC.md 15.2).

The audio is made up. Instructions are exact counts in Unicorn of the call in a linked firmware.
"""

import numpy as np

from benchmarks.measure import m0_on_large_board
from benchmarks.records import FOLDER
from codegen.graph import Dense, FloatGraph
from codegen.lower import lower
from codegen.quantize import QuantizeOptions, quantize
from codegen.quantize.mfcc import parse_mfcc
from device.harness.boards import BOARDS, Board
from device.harness.call_counts import inference_calls
from device.harness.elf import read_symbols
from device.twin.learner import raw_samples
from device.twin.mfcc import mfcc_features
from device.twin.model import IntModel
from server.learning.firmwares import build_firmware, cache_folder
from tests.unit.device.twin.test_twin_mfcc import float_mfcc, made_up

TEXT = "mfcc:rate=8000,window=8000,frame=320,step=160,fft=512,mels=40,low=20,high=4000"
CODE = ("had_features_mfcc", "had_features_mfcc_frame", "had_power_spectrum", "put_power")
CORES = {"M0": m0_on_large_board(), "M3": BOARDS["mps2-an385"], "M4": BOARDS["mps2-an386"],
         "M33": BOARDS["mps2-an505"]}  # fmt: skip


def small_model() -> IntModel:
    """Ten classes right behind the features."""
    signal = parse_mfcc(TEXT)
    rng, bias = np.random.default_rng(0), np.zeros(10, np.float32)
    head = Dense("head", rng.normal(0, 0.1, (10, signal.outputs)).astype(np.float32), bias)
    graph = FloatGraph("mfcc", (signal.outputs,), (head,))
    x = rng.normal(0, 0.1, (4, signal.window)).astype(np.float32)
    return quantize(graph, x, None, QuantizeOptions(features=TEXT))


def cost_row(core: str, board: Board, model: IntModel) -> str:
    """Instructions and bytes on one core."""
    x = np.random.default_rng(1).normal(0, 0.1, (1, model.inputs)).astype(np.float32)
    firmware = build_firmware(model, board, cache_folder())
    kernels = [call.kernel for call in lower(model).calls]
    count = inference_calls(firmware, board, kernels, raw_samples(model, x)[0])[0]
    sizes = {s.name: s.size_bytes for s in read_symbols(firmware.elf)}
    code = sum(sizes.get(name, 0) for name in CODE)
    tables = sum(size for name, size in sizes.items() if name.startswith("signal_"))
    return f"| {core} | {count // 49:,} | {count:,} | {code:,} | {tables:,} |"


def error_rows() -> list[str]:
    """Error of every made-up signal against float64."""
    signal = parse_mfcc(TEXT)
    rows = []
    for name, x in made_up(signal).items():
        expected = float_mfcc(signal, x)[0]
        found = mfcc_features(signal, np.rint(x * 2**15).astype(int)[None])[0]
        error = np.abs(found.reshape(expected.shape) * 2.0**-signal.out_bits - expected)
        spread = float(np.abs(expected).max())
        rows.append(f"| {name} | {error.mean():.4f} | {error.max():.4f} | {spread:.1f} |")
    return rows


def page() -> str:
    """The whole page."""
    model = small_model()
    lines = [
        "# MFCC on the device",
        "",
        "Written by `python -m benchmarks.mfcc`; GCC -O2, executed instructions counted exactly in",
        "Unicorn, bytes of the linked firmware. 49 frames of 10 coefficients:",
        "",
        f"    {TEXT}",
        "",
        "| core | instructions a frame | a second | code, bytes | tables, bytes |",
        "| --- | --- | --- | --- | --- |",
        *(cost_row(core, board, model) for core, board in CORES.items()),
        "",
        "Scratch: 2,128 bytes in the inference arena; the signal itself: 16,000.",
        "",
        "Error against float64 (natural logarithms; a step is 2^-8 = 0.0039), made-up signals:",
        "",
        "| signal | mean error | largest | largest coefficient |",
        "| --- | --- | --- | --- |",
        *error_rows(),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Write the page."""
    text = page()
    (FOLDER / "mfcc.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
