"""Everything one emulator remembers."""

import secrets
import string

from openrouter_emulator.account.bill import Bill
from openrouter_emulator.catalogue.models import Catalogue
from openrouter_emulator.chat.generation import Generation
from openrouter_emulator.clock import Clock
from openrouter_emulator.http.request_log import RequestLog
from openrouter_emulator.settings import EmulatorSettings

_ID_LETTERS = string.ascii_letters + string.digits


class Emulator:
    """Settings, catalogue, clock and books; one account, whatever key is used."""

    def __init__(self, settings: EmulatorSettings) -> None:
        self.settings = settings
        self.clock = Clock()
        self.catalogue = Catalogue.shipped()
        self.bill = Bill(size=settings.bill_size)
        self.requests = RequestLog(self.clock, size=settings.request_log_size, max_bytes=settings.request_log_bytes)

    def apply(self, settings: EmulatorSettings) -> None:
        """Change settings while running; answers already under way keep their pace."""
        self.settings = settings
        self.requests.resize(size=settings.request_log_size, max_bytes=settings.request_log_bytes)

    def new_generation_id(self) -> str:
        """`gen-<unix seconds>-<20 characters>`."""
        return f"gen-{int(self.clock.now())}-{''.join(secrets.choice(_ID_LETTERS) for _ in range(20))}"

    def settle(self, generation: Generation, *, completion_tokens: int | None = None) -> None:
        """Charge a generation once; later calls change nothing."""
        if generation.counts is None:
            generation.settle(completion_tokens=completion_tokens)
            self.bill.add(generation)
