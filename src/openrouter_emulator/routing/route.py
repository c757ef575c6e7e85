"""Finds a model and a host that serve, trying one after the other, and keeps the record of the attempts."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from openrouter_emulator.catalogue.hosts import Host, HostDirectory
from openrouter_emulator.catalogue.models import Model
from openrouter_emulator.chat.request import ChatRequest, ProviderPreferences, Sort
from openrouter_emulator.clock import Clock
from openrouter_emulator.faults.active import ActiveFaults
from openrouter_emulator.http.errors import ApiError
from openrouter_emulator.routing.requirements import Requirements
from openrouter_emulator.routing.selection import eligible_hosts, ordered_hosts
from openrouter_emulator.routing.upstream import provider_code, upstream_error

OUTAGE_MEMORY = 30.0
"""Seconds for which a host that failed is put last."""
HOST_LEVEL = frozenset({401, 402, 403, 404, 408, 429, 499})
"""With all 5xx: failures after which another host of the same model is tried."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One host that was asked."""

    host: Host
    status: int

    def view(self) -> dict[str, Any]:
        return {"provider": self.host.name, "model": self.host.model.id, "status": self.status}


@dataclass(slots=True)
class Route:
    """The way to the host that serves; `candidates` are all hosts that could have."""

    host: Host
    attempts: list[Attempt]
    candidates: list[Host] = field(default_factory=list)


class HostHealth:
    """Which providers are set to fail, and which have failed lately."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.statuses: dict[str, int] = {}
        """By provider name: the status every call to it ends with."""
        self._failed_at: dict[str, float] = {}

    def error_of(self, host: Host) -> ApiError | None:
        status = self.statuses.get(host.name)
        return None if status is None else upstream_error(host, status, f"{host.name} answered {status}")

    def note_failure(self, host: Host, error: ApiError) -> None:
        if error.status >= 500:
            self._failed_at[host.name] = self._clock.now()

    def outages(self) -> set[str]:
        since = self._clock.now() - OUTAGE_MEMORY
        return {name for name, failed_at in self._failed_at.items() if failed_at > since}


class Router:
    """One request's search for a host; without `chance`, hosts come in the catalogue's order."""

    def __init__(
        self, directory: HostDirectory, health: HostHealth, faults: ActiveFaults, chance: random.Random | None
    ) -> None:
        self._directory, self._health, self._faults, self._chance = directory, health, faults, chance
        self._attempts: list[Attempt] = []
        self._last_error: ApiError | None = None

    def find(
        self,
        request: ChatRequest,
        models: Sequence[Model],
        needs: Requirements,
        *,
        pinned: str | None,
        sort: str | None,
    ) -> Route:
        """The first host that does not fail; the last error when all do."""
        wishes = request.provider or ProviderPreferences()
        sort = sort_of(wishes) or sort
        candidates = [self._candidates(model, needs, wishes, sort, pinned) for model in models]
        if is_partition_free(wishes):
            merged = [host for hosts in candidates for host in hosts]
            candidates = [ordered_hosts(merged, wishes, sort=sort, pinned=None, outages=(), chance=self._chance)]
        for hosts in candidates:
            for host in hosts:
                error = self._health.error_of(host) or self._faults.upstream_error(host, len(self._attempts) + 1)
                self._attempts.append(Attempt(host, error.status if error else 200))
                if error is None:
                    return Route(host, self._attempts, [one for some in candidates for one in some])
                self._health.note_failure(host, error)
                self._last_error = error
                if error.status < 500 and error.status not in HOST_LEVEL:
                    break  # another host of this model would say the same
        raise self._failure()

    def _candidates(
        self, model: Model, needs: Requirements, wishes: ProviderPreferences, sort: str | None, pinned: str | None
    ) -> list[Host]:
        try:
            hosts = eligible_hosts(self._directory.of(model), needs, wishes)
        except ApiError as error:
            self._last_error = error
            return []
        outages = self._health.outages()
        return ordered_hosts(hosts, wishes, sort=sort, pinned=pinned, outages=outages, chance=self._chance)

    def _failure(self) -> ApiError:
        error = self._last_error or ApiError(404, "No endpoints found.")
        error.asked_model = self._attempts[-1].host.model.id if self._attempts else None
        if len(self._attempts) > 1:
            previous = [
                {"provider": attempt.host.name, "code": provider_code(attempt.status), "status": attempt.status}
                for attempt in self._attempts[:-1]
            ]
            error.metadata = {**(error.metadata or {}), "previous_errors": previous}
        return error


def sort_of(wishes: ProviderPreferences) -> str | None:
    return wishes.sort.by if isinstance(wishes.sort, Sort) else wishes.sort


def is_partition_free(wishes: ProviderPreferences) -> bool:
    """Whether the hosts of all models are sorted together."""
    return isinstance(wishes.sort, Sort) and wishes.sort.partition == "none"
