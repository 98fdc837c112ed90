# SPDX-License-Identifier: Apache-2.0
"""An S3 server for tests: moto's, in this process."""

import contextlib
import os
from collections.abc import Iterator

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
}


@contextlib.contextmanager
def s3_server(bucket: str = "hadapt-blobs") -> Iterator[dict[str, str]]:
    """A server with one empty bucket; yields the environment in which obstore finds it."""
    import httpx2
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {**ENVIRONMENT, "AWS_ENDPOINT": f"http://{host}:{port}"}
    kept = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        assert httpx2.put(f"http://{host}:{port}/{bucket}", timeout=60).is_success
        yield environment
    finally:
        server.stop()
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
