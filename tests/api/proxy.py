# SPDX-License-Identifier: Apache-2.0
"""nginx with the configuration of docker/, and certificates for it, in a temporary folder."""

import contextlib
import datetime
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from server.errors import ToolMissingError

TEMPLATE = Path(__file__).parents[2] / "docker" / "proxy" / "hadapt.conf.template"
MAIN = """pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1; daemon off;
events {{ worker_connections 256; }}
http {{
    access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    include {folder}/hadapt.conf;
}}
"""


class Authority:
    """A certificate authority of the tests' own."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.path = folder / f"{name}.crt"
        self.path.write_bytes(self._sign(self._name, self._key.public_key(), True))

    def _sign(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, is_ca: bool) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        host = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
            .add_extension(host, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM)

    def issue(self, name: str) -> tuple[Path, Path]:
        """A certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        paths = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        paths[0].write_bytes(self._sign(subject, key.public_key(), False))
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return paths


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Proxy:
    """A running nginx; clients of it, with or without a certificate."""

    http: str
    https: str
    host_authority: Authority
    devices: Authority
    clients: list[httpx2.Client] = field(default_factory=list)

    def client(self, pair: tuple[Path, Path] | None = None) -> httpx2.Client:
        """A client that trusts the host's authority."""
        context = ssl.create_default_context(cafile=str(self.host_authority.path))
        if pair is not None:
            context.load_cert_chain(*pair)
        made = httpx2.Client(base_url=self.https, verify=context)
        self.clients.append(made)
        return made


def render(values: Mapping[str, str]) -> str:
    """The template as the image fills it in."""
    text = TEMPLATE.read_text()
    for name, value in values.items():
        text = text.replace("${" + name + "}", value)
    assert "${" not in text, "a variable of the template has no value"
    return text


@contextlib.contextmanager
def proxy_before(folder: Path, server: str, **limits: str) -> Iterator[Proxy]:
    """nginx before a service at host:port. Raises: ToolMissingError."""
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if nginx is None:
        raise ToolMissingError("nginx is missing; get it with `apt install nginx-light`.")
    folder.mkdir()
    host, devices = Authority(folder, "host-ca"), Authority(folder, "devices-ca")
    host.issue("server")
    ports = {"PROXY_HTTP_PORT": str(free_port()), "PROXY_HTTPS_PORT": str(free_port())}
    limit = {"PROXY_RATE": "1000", "PROXY_BURST": "1000", "PROXY_CONNECTIONS": "100", **limits}
    place = {"PROXY_CERTIFICATES": str(folder), "PROXY_SERVERS": f"server {server};"}
    (folder / "hadapt.conf").write_text(render({**ports, **limit, **place}))
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder))
    command = [nginx, "-p", str(folder), "-c", str(folder / "nginx.conf")]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        proxy = Proxy(
            f"http://localhost:{ports['PROXY_HTTP_PORT']}",
            f"https://localhost:{ports['PROXY_HTTPS_PORT']}",
            host,
            devices,
        )
        try:
            _wait(int(ports["PROXY_HTTPS_PORT"]))
            yield proxy
        finally:
            for client in proxy.clients:
                client.close()
            process.terminate()


def _wait(port: int) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.05)
    raise TimeoutError("nginx does not listen")
