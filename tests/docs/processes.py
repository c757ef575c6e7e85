"""Real processes for tests: started in a clean environment, on loopback, and ended with their test."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from tests.docs.pages import ROOT

BIN = Path(sys.executable).parent
START_SECONDS = 60
QUICK_PASSWORDS = {"ARGON2_TIME_COST": "1", "ARGON2_MEMORY_KIB": "8"}


def environment(**settings: str) -> dict[str, str]:
    """A PATH with the project's commands, a locale, and these settings: nothing of the developer's own."""
    return {"PATH": f"{BIN}:/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT / "src"), **settings}


@dataclass
class Running:
    """A process whose output goes to files, so that it never waits for a reader."""

    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def said(self) -> str:
        """Its standard output so far."""
        return (self.folder / "stdout").read_text()

    @property
    def logged(self) -> str:
        """Its standard error so far."""
        return (self.folder / "stderr").read_text()

    def wait_until(self, what: str, *, seconds: float = START_SECONDS) -> None:
        """Return once ``what`` stands in its output; fail when it ends before, or takes too long."""
        deadline = time.monotonic() + seconds
        while what not in self.said + self.logged:
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.said}{self.logged}"
            assert time.monotonic() < deadline, f"did not say {what!r}: {self.said}{self.logged}"
            time.sleep(0.05)

    def wait_until_ready(self, url: str) -> None:
        """Return once ``/health/ready`` says so."""
        deadline = time.monotonic() + START_SECONDS
        while not _is_ready(url):
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.said}{self.logged}"
            assert time.monotonic() < deadline, f"not ready: {self.said}{self.logged}"
            time.sleep(0.05)

    def end(self, sent: signal.Signals, *, seconds: float = 10) -> int:
        """Send a signal to its whole group, as a terminal does; its exit code."""
        os.killpg(self.process.pid, sent)
        return self.wait(seconds=seconds)

    def wait(self, *, seconds: float = 10) -> int:
        """Its exit code; fail when it takes longer to end."""
        try:
            return self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {seconds:g} s: {self.said}{self.logged}") from None


def _is_ready(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/health/ready", timeout=5).status_code == 200
    except httpx2.HTTPError:
        return False


@contextmanager
def running(*command: str | Path, folder: Path, cwd: Path, env: Mapping[str, str]) -> Iterator[Running]:
    """Run a command in a process group of its own until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        process = subprocess.Popen(  # noqa: S603 - our own programs
            [str(part) for part in command], cwd=cwd, env=dict(env), stdout=out, stderr=err, start_new_session=True
        )
    try:
        yield Running(process, folder)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run(
    *command: str | Path, cwd: Path, env: Mapping[str, str], seconds: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(  # noqa: S603 - our own programs
        [str(part) for part in command],
        cwd=cwd,
        env=dict(env),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def checkout(folder: Path) -> Path:
    """A folder that looks like a fresh clone: everything the project keeps, without ``.env`` and data."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("alembic.ini", "pyproject.toml", "scripts", "src", "Makefile", "requirements.lock"):
        (folder / name).symlink_to(ROOT / name)
    return folder
