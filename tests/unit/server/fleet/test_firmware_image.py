# SPDX-License-Identifier: Apache-2.0
"""Firmware images: signed, named, and refused when anything is wrong with them."""

from pathlib import Path

import pytest

from server.errors import InvalidInputError
from server.fleet.firmware_image import identity_of, is_image, make_image, read_image
from server.fleet.keys import FileSigner, generate_key

BINARY = bytes(range(256)) * 3
WHO = identity_of("hadapt.example", "microbit", "field", bytes(16))


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> FileSigner:
    return generate_key(tmp_path_factory.mktemp("key") / "release.pem")


@pytest.fixture(scope="module")
def image(key: FileSigner) -> bytes:
    return make_image(BINARY, 7, WHO, key)


def test_image_comes_back_and_is_the_same_each_time(key: FileSigner, image: bytes) -> None:
    found = read_image(image, [bytes(32), key.public_key])
    assert (found.binary, found.sequence, found.identity) == (BINARY, 7, WHO)
    assert is_image(image)
    assert make_image(BINARY, 7, WHO, key) == image != make_image(BINARY, 8, WHO, key)
    assert len(image) - len(BINARY) < 512 + 256


def test_identity_differs_by_vendor_board_layout_and_model() -> None:
    others = [
        identity_of("other.example", "microbit", "field", bytes(16)),
        identity_of("hadapt.example", "mps2-an386", "field", bytes(16)),
        identity_of("hadapt.example", "microbit", "plain", bytes(16)),
        identity_of("hadapt.example", "microbit", "field", bytes(15) + b"\1"),
    ]
    assert len({WHO, *others}) == 5


def test_every_damaged_image_is_refused(key: FileSigner, image: bytes, tmp_path: Path) -> None:
    keys = [key.public_key]
    ends = range(len(image) - 260, len(image))
    for at in [*range(36), *range(512, len(image) - 260, 211), *ends]:
        broken = bytearray(image)
        broken[at] ^= 1 << (at % 8)
        with pytest.raises(InvalidInputError, match="refused"):
            read_image(bytes(broken), keys)
    for cut in [*range(0, 40, 3), 511, 512, *range(len(image) - 260, len(image), 7)]:
        with pytest.raises(InvalidInputError, match="refused"):
            read_image(image[:cut], keys)
    strange = [[], [bytes(32)], [generate_key(tmp_path / "other.pem").public_key]]
    for trusted in strange:
        with pytest.raises(InvalidInputError, match="not trusted"):
            read_image(image, trusted)
    with pytest.raises(InvalidInputError, match="damaged"):
        read_image(image + b"\0", keys)
