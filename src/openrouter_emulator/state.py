"""Everything one emulator remembers."""

import random
import secrets
import string

from openrouter_emulator.account.bill import Bill
from openrouter_emulator.account.limits import FreeLimits
from openrouter_emulator.account.parses import ParseLog
from openrouter_emulator.catalogue.hosts import Host, HostDirectory
from openrouter_emulator.catalogue.models import Catalogue
from openrouter_emulator.chat.generation import Generation
from openrouter_emulator.chat.request import ChatRequest
from openrouter_emulator.clock import Clock
from openrouter_emulator.faults.rules import FaultRules
from openrouter_emulator.http.request_log import RequestLog
from openrouter_emulator.prompt_cache.cache import PromptCache, Visit
from openrouter_emulator.prompt_cache.counts import CacheCounts
from openrouter_emulator.routing.route import HostHealth
from openrouter_emulator.routing.sticky import StickyRoutes
from openrouter_emulator.settings import EmulatorSettings

_ID_LETTERS = string.ascii_letters + string.digits


class Emulator:
    """Settings, catalogue, clock and books; one account, whatever key is used."""

    def __init__(self, settings: EmulatorSettings) -> None:
        self.clock = Clock()
        self.catalogue = Catalogue.shipped()
        self.hosts = HostDirectory.shipped()
        self.bill = Bill(size=settings.bill_size)
        self.parses = ParseLog(size=settings.bill_size)
        self.requests = RequestLog(self.clock, size=settings.request_log_size, max_bytes=settings.request_log_bytes)
        self.faults = FaultRules()
        self.prompt_cache = PromptCache(self.clock)
        self.sticky = StickyRoutes(self.clock)
        self.health = HostHealth(self.clock)
        self.free_limits = FreeLimits(self.clock)
        self.apply(settings)

    def apply(self, settings: EmulatorSettings) -> None:
        """Change settings while running; answers already under way keep their pace."""
        self.settings = settings
        self.chance = random.Random(settings.seed)  # noqa: S311 - repeatable on purpose
        self.requests.resize(size=settings.request_log_size, max_bytes=settings.request_log_bytes)

    def reset(self) -> None:
        """Forget what happened; settings stay."""
        self.requests.clear()
        self.bill.clear()
        self.parses.clear()
        self.faults.remove()
        self.prompt_cache.clear()
        self.sticky = StickyRoutes(self.clock)
        self.health = HostHealth(self.clock)
        self.free_limits = FreeLimits(self.clock)

    def look_up_prompt(self, account: str, host: Host, request: ChatRequest) -> Visit:
        """What the host's cache has of a prompt; nothing, and nothing is kept, while caching is switched off."""
        if not self.settings.prompt_caching:
            return Visit(CacheCounts())
        return self.prompt_cache.look_up(account, host, request)

    def new_generation_id(self, kind: str = "gen") -> str:
        """`gen-<unix seconds>-<20 characters>`."""
        return f"{kind}-{int(self.clock.now())}-{''.join(secrets.choice(_ID_LETTERS) for _ in range(20))}"

    def settle(self, generation: Generation, *, completion_tokens: int | None = None) -> None:
        """Charge a generation once; later calls change nothing."""
        if generation.counts is None:
            generation.settle(now=self.clock.now(), completion_tokens=completion_tokens)
            self.bill.add(generation)
