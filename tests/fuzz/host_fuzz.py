# SPDX-License-Identifier: Apache-2.0
"""The host's readers of outside bytes under atheris: libFuzzer with coverage of the Python code.

    python -m tests.fuzz.host_fuzz [--runs 20000] [--seconds 600] [--corpus folder]

The first byte of an input chooses the reader, the rest is what it reads. A reader may refuse with
its own errors; anything else ends the run, with the input in crash-*. The corpus begins with what
each reader should take, and keeps what reaches new code.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

INSTRUMENTED = [
    "codegen.importer",
    "device.packet",
    "server.commands.arrays",
    "server.commands.model_file",
    "server.fleet.firmware_image",
    "server.fleet.trust",
    "server.learning.learner_data",
    "server.services.npz",
]
MAX_BYTES = 8192
ONNX = Path(__file__).parents[1] / "fixtures" / "onnx" / "torch_binary_torchscript_fixed.onnx"

with atheris.instrument_imports(include=INSTRUMENTED, enable_loader_override=False):
    from codegen.errors import CodegenError
    from codegen.importer import import_onnx
    from server.errors import HadaptError
    from server.fleet.firmware_image import identity_of, make_image, read_image
    from server.fleet.keys import generate_key
    from tests.fuzz.test_host_parsers import Reader, readers


def _image_reader() -> Reader:
    with tempfile.TemporaryDirectory() as folder:
        key = generate_key(Path(folder) / "release.pem")
        image = make_image(b"firmware", 1, identity_of("v.example", "b", "field", bytes(16)), key)
    return Reader(image, lambda data: read_image(data, [key.public_key]), (HadaptError,))


def _planted(data: bytes) -> None:
    """A reader with an error of its own, to see that one is found."""
    if len(data) > 2 and data[0] > 200:
        raise KeyError(data[1])


def all_readers() -> dict[str, Reader]:
    """By name; those of the tests, ONNX and firmware images."""
    return {
        **readers(),
        "onnx": Reader(ONNX.read_bytes(), import_onnx, (CodegenError,)),
        "firmware image": _image_reader(),
    }


def write_seeds(folder: Path, chosen: list[Reader]) -> None:
    """What each reader should take, one file each."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, reader in enumerate(chosen):
        if len(reader.sound) < MAX_BYTES:
            (folder / f"sound-{number}").write_bytes(bytes([number]) + reader.sound)


def main() -> None:
    """The command. Does not return: libFuzzer ends the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--seconds", type=int, default=0, help="0: no limit")
    parser.add_argument("--corpus", type=Path, default=Path("out/fuzz-host"))
    parser.add_argument("--crashes", default="", help="prefix of files of inputs that fail")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=[])
    options = parser.parse_args()
    known = {**all_readers(), "planted": Reader(b"", _planted, (HadaptError,))}
    names = options.only or [name for name in known if name != "planted"]
    chosen = [known[name] for name in names]
    write_seeds(options.corpus, chosen)

    def one(data: bytes) -> None:
        if not data:
            return
        reader = chosen[data[0] % len(chosen)]
        try:
            reader.read(data[1:])
        except reader.errors as error:
            if not str(error):
                raise AssertionError("an error without words") from error

    limits = [f"-runs={options.runs}", f"-max_total_time={options.seconds}"]
    sizes = [f"-max_len={MAX_BYTES}", "-timeout=20", "-rss_limit_mb=3000"]
    more = [f"-seed={options.seed}", f"-artifact_prefix={options.crashes}"]
    atheris.Setup([sys.argv[0], *limits, *sizes, *more, str(options.corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
