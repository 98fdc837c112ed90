# SPDX-License-Identifier: Apache-2.0
"""The RSA key and certificate of swupdate images.

RSA and not Ed25519: CMS in OpenSSL 3.0 does not know Ed25519 without a digest, and RSA with PKCS 1
v1.5 padding is deterministic, so that images stay reproducible.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

from server.errors import Issue
from server.fleet.errors import KeyFileError
from server.fleet.keys import read_private, write_private

KEY, CERTIFICATE = "image.pem", "image.crt"
BITS = 3072


def generate(folder: Path, days: int, now: float) -> tuple[Path, Path]:
    """A new key (mode 0600) and its self-signed certificate."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=BITS)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hadapt images")])
    start = datetime.fromtimestamp(int(now), UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - timedelta(days=1))
        .not_valid_after(start + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_private(folder / KEY, pem)
    (folder / CERTIFICATE).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return folder / KEY, folder / CERTIFICATE


def cms_sign(data: bytes, key_file: Path, certificate_file: Path) -> bytes:
    """Detached CMS signature (RFC 5652, DER), without attributes: same input, same bytes.

    Raises: KeyFileError if key or certificate cannot be used.
    """
    data_of_key = read_private(key_file)
    try:
        key = serialization.load_pem_private_key(data_of_key, None)
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
    except (OSError, ValueError, TypeError) as error:
        issue = Issue("unusable", str(key_file), "files made by `hadapt keys image-key`")
        raise KeyFileError("The image key cannot be used.", [issue]) from error
    if not isinstance(key, rsa.RSAPrivateKey):
        issue = Issue(type(key).__name__, str(key_file), "an RSA key")
        raise KeyFileError("The image key is of another kind.", [issue])
    options = [
        pkcs7.PKCS7Options.DetachedSignature,
        pkcs7.PKCS7Options.Binary,
        pkcs7.PKCS7Options.NoAttributes,
    ]
    builder = pkcs7.PKCS7SignatureBuilder().set_data(data)
    builder = builder.add_signer(certificate, key, hashes.SHA256())
    return builder.sign(serialization.Encoding.DER, options)
