"""The emulator as a real process, and what tests ask of it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import httpx2

LISTENING = "openrouter emulator listening on "
REQUEST = {"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "What is patience?"}]}


class EmulatorProcess:
    """`base_url` ends in `/api/v1`; `control` speaks to `/__emulator__`."""

    def __init__(self, process: subprocess.Popen[str], base_url: str) -> None:
        self.process = process
        self.base_url = base_url
        root = base_url.removesuffix("/api/v1")
        self.control = httpx2.Client(base_url=f"{root}/__emulator__", timeout=20)
        self.initial_settings = self.control.get("/settings").json()

    def configure(self, **settings: Any) -> None:
        self.control.put("/settings", json=settings).raise_for_status()

    def requests(self, **wanted: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.control.get("/requests", params=wanted).json()["requests"]
        return found

    def questions(self) -> list[dict[str, Any]]:
        """What models were asked. Bills and lists that an app looks up by the way, when it will, are none of it."""
        return [each for each in self.requests() if each["method"] == "POST"]

    def bill(self, *generation_ids: str) -> dict[str, Any]:
        wanted = {"generation_id": ",".join(generation_ids)} if generation_ids else {}
        view: dict[str, Any] = self.control.get("/bill", params=wanted).json()
        return view

    def parses(self, digest: str | None = None) -> dict[str, Any]:
        """What became of every document, or of the one with this SHA-256."""
        view: dict[str, Any] = self.control.get("/parses", params={"hash": digest} if digest else {}).json()
        return view

    def fault(self, name: str, **fields: Any) -> int:
        """A standing order; its id."""
        rule: dict[str, Any] = self.control.post("/faults", json={"name": name, **fields}).raise_for_status().json()
        return int(rule["id"])

    def advance(self, seconds: float) -> None:
        self.control.post("/clock", json={"advance": seconds}).raise_for_status()

    def reset(self) -> None:
        self.configure(**self.initial_settings)
        self.control.post("/reset").raise_for_status()


@contextmanager
def start_emulator(*arguments: str) -> Iterator[EmulatorProcess]:
    command = [sys.executable, "-m", "openrouter_emulator", "--port", "0", "--exit-with-parent", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own program
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        assert line.startswith(LISTENING), line
        emulator = EmulatorProcess(process, line.removeprefix(LISTENING))
        try:
            yield emulator
        finally:
            emulator.control.close()
            process.terminate()


def parse_events(text: str) -> list[Any]:
    """The payloads of an SSE text in order; `[DONE]` stays a string, comments are left out."""
    payloads = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [payload if payload == "[DONE]" else json.loads(payload, parse_float=Decimal) for payload in payloads]


def joined_content(events: list[Any]) -> str:
    return "".join(
        choice["delta"].get("content") or ""
        for event in events
        if event != "[DONE]"
        for choice in event.get("choices", [])
    )
