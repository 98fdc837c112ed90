# SPDX-License-Identifier: Apache-2.0
"""Envelopes of the kinds of the SUIT draft's examples 0 to 5 (SPEC.md 11.2).

Built with cbor2 alone from the draft's tags, for this device and signed by its release key. The
integrated payload is the one kind that it takes; every other is refused for its form, and nothing
has changed then.
"""

import hashlib
from collections.abc import Iterator
from typing import Any

import cbor2
import pytest

from device.harness.field_client import FieldClient
from device.packet import PacketError, class_id, key_id, read_packet
from tests.faults.powercut.session import RELEASE, ROOT, VENDOR, public
from tests.parity.test_field_device import BASE, GOOD, MODEL, RESULT, close, open_field

CLASS = class_id(VENDOR, MODEL.model_id)
URI = "http://example.com/file.bin"
IMAGE = cbor2.dumps([-16, bytes(32)])


def wrap(value: Any) -> bytes:
    """A byte string of CBOR, as SUIT nests everything."""
    return cbor2.dumps(value)


def common(components: list[list[bytes]], extra: list[Any] | None = None) -> bytes:
    """Components, and the shared sequence: who may take it, and what the image is."""
    identity = {1: VENDOR, 2: CLASS, 3: IMAGE, 14: 34768}
    return wrap({2: components, 4: wrap([20, identity, 1, 15, 2, 15, *(extra or [])])})


def fetched(uri: str = URI) -> list[Any]:
    return [20, {21: uri}, 21, 2, 3, 15]


def ab_images() -> list[Any]:
    """Try-each by component slot: which of two images fits."""
    choices = [wrap([20, {5: slot}, 5, 5, 20, {21: f"{URI}{slot}"}]) for slot in (0, 1)]
    return [15, choices]


EXAMPLES: dict[str, tuple[dict[int, Any], dict[Any, Any]]] = {
    "0: secure boot": (
        {3: common([[b"\0"]]), 7: wrap([3, 15]), 9: wrap([23, 2])},
        {},
    ),
    "1: simultaneous download and installation": (
        {3: common([[b"\0"]]), 7: wrap([3, 15]), 20: wrap(fetched())},
        {},
    ),
    "2: severed fields": (
        {3: common([[b"\0"]]), 7: wrap([3, 15]), 9: wrap([23, 2])}
        | {
            20: [-16, hashlib.sha256(wrap(wrap(fetched()))).digest()],
            23: [-16, hashlib.sha256(wrap(wrap({}))).digest()],
        },
        {20: wrap(fetched()), 23: wrap({})},
    ),
    "3: A/B images": (
        {3: common([[b"\0"]], ab_images()), 7: wrap([3, 15]), 20: wrap([*ab_images(), 21, 2])},
        {},
    ),
    "4: load from external storage": (
        {
            3: common([[b"\0"], [b"\2"], [b"\1"]]),
            7: wrap([12, 0, 3, 15]),
            8: wrap([12, 2, 20, {22: 0}, 22, 2, 3, 15]),
            9: wrap([12, 2, 23, 2]),
            16: wrap([12, 1, *fetched()]),
            20: wrap([12, 0, 20, {22: 1}, 22, 2, 3, 15]),
        },
        {},
    ),
    "5: two images": (
        {
            3: common([[b"\0"], [b"\1"]]),
            7: wrap([12, 0, 3, 15, 12, 1, 3, 15]),
            9: wrap([12, 0, 23, 2]),
            20: wrap([12, 0, *fetched(), 12, 1, *fetched()]),
        },
        {},
    ),
}


def envelope(manifest: dict[int, Any], severed: dict[Any, Any]) -> bytes:
    """Signed as the device demands, so that nothing but the form can be wrong."""
    body = wrap({1: 1, 2: 5, **manifest})
    digest = wrap([-16, hashlib.sha256(body).digest()])
    protected = wrap({1: -19, 4: key_id(public(RELEASE))})
    signature = RELEASE.sign(wrap(["Signature1", protected, b"", digest]))
    sign1 = wrap(cbor2.CBORTag(18, [protected, {}, None, signature]))
    return wrap(cbor2.CBORTag(107, {2: wrap([digest, sign1]), 3: body, **severed}))


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FieldClient]:
    client = open_field(tmp_path_factory.mktemp("suit"), "host", sanitize=True)
    client.provision(VENDOR, CLASS, public(ROOT), public(RELEASE))
    yield client
    close(client)


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_of_another_kind_is_refused_for_its_form(device: FieldClient, name: str) -> None:
    made = envelope(*EXAMPLES[name])
    read = cbor2.loads(made)  # it is what the draft describes
    assert read.tag == 107 and cbor2.loads(read.value[3])[1] == 1
    with pytest.raises(PacketError):
        read_packet(made)
    assert device.packet_status(made) == -4
    assert device.field_info().reason in (1, 5)
    assert device.export_state() == BASE


def test_integrated_payload_is_taken_when_cbor2_builds_it(device: FieldClient) -> None:
    """The same bytes from tags and an independent encoder; the device takes them."""
    packet = cbor2.loads(GOOD)
    manifest = {key: value for key, value in cbor2.loads(packet.value[3]).items() if key != 1}
    made = envelope(manifest, {"#w": packet.value["#w"]})
    assert made == GOOD
    device.apply_packet(made)
    assert device.export_state() == RESULT
