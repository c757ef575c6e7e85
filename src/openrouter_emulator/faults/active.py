"""The faults that strike one request, asked at each stage of its answer."""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from openrouter_emulator.catalogue.hosts import Host
from openrouter_emulator.chat.generation import Answer, Generation
from openrouter_emulator.faults.fault import FAULTS, Parameters, Stage
from openrouter_emulator.faults.rules import FaultRule
from openrouter_emulator.http.errors import ApiError
from openrouter_emulator.http.events import Event
from openrouter_emulator.http.playback import Piece


class ActiveFaults:
    """Each method lets every fault of its stage act in turn, in the order they were given."""

    def __init__(self, rules: Sequence[FaultRule] = ()) -> None:
        self._rules = [(FAULTS[rule.name], Parameters(FAULTS[rule.name].defaults, rule.params), rule) for rule in rules]

    @property
    def names(self) -> list[str]:
        return [fault.name for fault, _, _ in self._rules]

    @property
    def delay(self) -> float:
        """Seconds before anything is sent."""
        return sum(float(apply(parameters)) for apply, parameters, _ in self._at(Stage.DELAY))

    def refuse(self) -> None:
        """Raise the refusal a fault demands, if one does."""
        for apply, parameters, _ in self._at(Stage.REFUSAL):
            raise apply(parameters)

    def upstream_error(self, host: Host, attempt: int) -> ApiError | None:
        """How this host fails at this attempt (counted from 1)."""
        for apply, parameters, rule in self._at(Stage.UPSTREAM):
            hit = (not rule.provider or host.answers_to(rule.provider)) and rule.model in (None, host.model.id)
            if hit and (not parameters.has("attempts") or attempt <= parameters.count("attempts")):
                error: ApiError | None = apply(parameters, host)
                return error
        return None

    def answer(self, answer: Answer) -> Answer:
        for apply, parameters, _ in self._at(Stage.ANSWER):
            answer = apply(answer, parameters)
        return answer

    def generation(self, generation: Generation) -> None:
        for apply, parameters, _ in self._at(Stage.GENERATION):
            apply(generation, parameters)

    def usage(self, usage: dict[str, Any], generation: Generation) -> dict[str, Any]:
        for apply, parameters, _ in self._at(Stage.USAGE):
            usage = apply(usage, parameters, generation)
        return usage

    def payload(self, payload: dict[str, Any]) -> dict[str, Any]:
        for apply, parameters, _ in self._at(Stage.PAYLOAD):
            payload = apply(payload, parameters)
        return payload

    def body(self, body: dict[str, Any], generation: Generation) -> dict[str, Any]:
        for apply, parameters, _ in self._at(Stage.BODY):
            body = apply(body, parameters, generation)
        return body

    def events(self, events: Iterator[Event], generation: Generation | None) -> Iterator[Event]:
        streams = generation is not None and generation.streamed
        for apply, parameters, rule in self._at(Stage.EVENTS):
            if streams or not FAULTS[rule.name].streams_only:
                events = apply(events, parameters, generation)
        return events

    def error(self, envelope: dict[str, Any]) -> dict[str, Any]:
        for apply, parameters, _ in self._at(Stage.ERROR):
            envelope = apply(envelope, parameters)
        return envelope

    def headers(self, headers: dict[str, str]) -> dict[str, str]:
        for apply, parameters, _ in self._at(Stage.HEADERS):
            headers = apply(headers, parameters)
        return headers

    def pieces(self, pieces: AsyncIterator[Piece]) -> AsyncIterator[Piece]:
        for apply, parameters, _ in self._at(Stage.PIECES):
            pieces = apply(pieces, parameters)
        return pieces

    def _at(self, stage: Stage) -> Iterator[tuple[Any, Parameters, FaultRule]]:
        for fault, parameters, rule in self._rules:
            if stage in fault.actions:
                yield fault.actions[stage], parameters, rule
