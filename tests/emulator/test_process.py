"""The program: its one line, its options, and how it stops."""

import signal
import subprocess
import sys
import time

import httpx2
import pytest

from tests.emulator.process import LISTENING, REQUEST, start_emulator

STARTER = """
import subprocess, sys
child = subprocess.Popen(
    [sys.executable, "-m", "openrouter_emulator", "--port", "0", "--exit-with-parent"],
    stdout=subprocess.PIPE, text=True)
print(child.stdout.readline().strip(), flush=True)
"""


class TestStopping:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_ends_it_within_a_second_though_a_stream_is_open(self, number: signal.Signals) -> None:
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
                emulator.process.wait(timeout=20)
                took = time.monotonic() - started
                with pytest.raises(httpx2.TransportError):
                    list(lines)
            assert took < 1

    def test_it_ends_with_its_parent(self) -> None:
        starter = subprocess.run([sys.executable, "-c", STARTER], capture_output=True, text=True, check=True)  # noqa: S603 - our own program
        url = starter.stdout.strip().removeprefix(LISTENING)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            try:
                httpx2.get(f"{url}/models")
            except httpx2.ConnectError:
                return
            time.sleep(0.1)
        pytest.fail("the emulator outlived its parent")


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
