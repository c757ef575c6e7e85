"""An S3 server in a process of its own."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx2

from tests.support.served import NO_CERTIFICATES

KEY, SECRET = "test-key", "test-secret-of-nobody"


@dataclass(frozen=True)
class S3Server:
    """Listens at ``url``."""

    url: str

    def make_bucket(self, name: str) -> None:
        """Make an empty bucket."""
        assert httpx2.put(f"{self.url}/{name}", verify=NO_CERTIFICATES).status_code == 200

    def list_keys(self, bucket: str) -> list[str]:
        """What lies in a bucket."""
        answer = httpx2.get(f"{self.url}/{bucket}?list-type=2", verify=NO_CERTIFICATES)
        return re.findall(r"<Key>(.*?)</Key>", answer.text)


@contextmanager
def start_s3() -> Iterator[S3Server]:
    """A server on a port that the system chose, until the block ends."""
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:  # noqa: S603
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if found := re.search(r"Running on (http://127\.0\.0\.1:\d+)", line):
                    threading.Thread(target=process.stderr.read, daemon=True).start()  # it tells of each request
                    yield S3Server(found[1])
                    return
            raise RuntimeError("the S3 server did not come up")
        finally:
            process.terminate()
