"""The program: its one line, its options, and how it stops."""

import math
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import httpx2
import pytest

from tests.emulator.process import LISTENING, REQUEST, start_emulator

STARTER = """
import subprocess, sys
child = subprocess.Popen(
    [sys.executable, "-m", "openrouter_emulator", "--port", "0", "--exit-with-parent"],
    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
print(child.pid, child.stdout.readline().strip(), flush=True)
"""


class TestStopping:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_ends_it_within_a_second_though_a_stream_is_open(self, number: signal.Signals) -> None:
        # A busy machine may be late, but hardly each time.
        assert any(self._seconds_to_end(number) < 1 for _ in range(3)), "the open stream holds up the end"

    def _seconds_to_end(self, number: signal.Signals) -> float:
        with start_emulator("--tokens-per-second", "1", "--first-token-delay", "0") as emulator:
            with httpx2.stream(
                "POST",
                f"{emulator.base_url}/chat/completions",
                json=REQUEST | {"stream": True},
                headers={"Authorization": "Bearer k"},
            ) as response:
                lines = response.iter_lines()  # held on to: an iterator that is dropped closes its stream
                next(lines)
                started = time.monotonic()
                emulator.process.send_signal(number)
                try:
                    emulator.process.wait(timeout=5)
                except subprocess.TimeoutExpired:
                    return math.inf
                took = time.monotonic() - started
                with pytest.raises(httpx2.TransportError):
                    list(lines)
            return took

    def test_it_ends_with_its_parent(self) -> None:
        command = [sys.executable, "-c", STARTER]
        starter = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)  # noqa: S603 - our own program
        pid, _, line = starter.stdout.strip().partition(" ")
        try:
            assert _is_silent_within(10, f"{line.removeprefix(LISTENING)}/models"), "the emulator outlived its parent"
        finally:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


def _is_silent_within(seconds: float, url: str) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            httpx2.get(url)
        except httpx2.TransportError:
            return True
        time.sleep(0.1)
    return False


class TestOptions:
    def test_they_reach_the_settings(self) -> None:
        options = ("--tokens-per-second", "5", "--first-token-delay", "2", "--api-key", "a", "--api-key", "b")
        with start_emulator(*options, "--seed", "3") as emulator:
            settings = emulator.initial_settings
        assert (settings["tokens_per_second"], settings["first_token_delay"]) == (5, 2)
        assert (settings["api_keys"], settings["seed"]) == (["a", "b"], 3)

    def test_a_wrong_value_is_a_usage_error(self) -> None:
        command = [sys.executable, "-m", "openrouter_emulator", "--tokens-per-second", "-1"]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own program
        assert ended.returncode == 2
        assert "tokens_per_second" in ended.stderr
