"""Folding: the chunks of a stream, or the one body of a plain answer, become one completion and its deltas."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from app.openrouter.annotations import AnnotationFold
from app.openrouter.chunks import Choice, Chunk, Delta, decode_chunk
from app.openrouter.error_reading import read_error
from app.openrouter.errors import EmptyAnswer, OpenRouterError, TruncatedStream, UnreadableAnswer
from app.openrouter.parsed_files import parsing_cost
from app.openrouter.reading import MOST_REASON, as_id, as_map, as_maps, as_name, as_text, read_usage
from app.openrouter.reasoning_details import ReasoningDetailsFold
from app.openrouter.think_tags import ThinkTags, answer_in_thinking
from app.openrouter.tool_calls import ToolCallFold
from app.openrouter.types import (
    Completion,
    ContentDelta,
    GenerationStarted,
    ImageDelta,
    ReasoningDelta,
    RefusalDelta,
    StreamEvent,
    Usage,
)


class CompletionFold:
    """One answer in the making. `feed` it the payloads in order, then ask for the completion with `finish`.

    Whatever fails raises with `partial`, the answer as far as it came.
    """

    def __init__(self, *, generation_id: str | None = None) -> None:
        self.generation_id = generation_id
        self.model: str | None = None
        self.provider: str | None = None
        self.finish_reason: str | None = None
        self.native_finish_reason: str | None = None
        self.usage: Usage | None = None
        self.parsing_cost: Decimal | None = None
        self._started = False
        self._content = bytearray()  # UTF-8: a list of many small strings takes ten times the room
        self._reasoning = bytearray()
        self._refusal = bytearray()
        self._images: list[str] = []
        self._think_tags = ThinkTags()
        self._annotations = AnnotationFold()
        self._reasoning_details = ReasoningDetailsFold()
        self._tool_calls = ToolCallFold()

    def feed(self, payload: bytes) -> list[StreamEvent]:
        """Take the JSON of one chunk, or of a whole body; return what it adds."""
        try:
            chunk = decode_chunk(payload)
        except msgspec.DecodeError as error:
            raise self.failed(UnreadableAnswer("OpenRouter sent something that is not JSON.")) from error
        self._read_head(chunk)
        events: list[StreamEvent] = []
        if not self._started:
            self._started = True
            events.append(GenerationStarted(self.generation_id, self.model, self.provider))
        choice = chunk.choice
        if choice is not None:
            self._read_choice(choice, events)
        if chunk.citations:
            events.extend(self._annotations.cite(chunk.citations))
        if chunk.error or self.finish_reason == "error" or (choice is not None and choice.error):
            self._raise_error(chunk.error or (choice and choice.error))
        return events

    def close(self) -> list[StreamEvent]:
        """Nothing more comes; return what was held back, or found in the wrong place."""
        events = self._add(*self._think_tags.close())
        if not self._content:
            reasoning, answer = answer_in_thinking(self._reasoning.decode())
            self._reasoning[:] = reasoning.encode()
            events.extend(self._add("", answer))
        return events

    def finish(self) -> Completion:
        """The whole completion; raises when no finish reason came, or when it says nothing at all."""
        self.close()
        completion = self.partial()
        if not completion.is_whole:
            raise self.failed(TruncatedStream("The answer ended without a finish reason."))
        if completion.is_empty and completion.finish_reason not in ("length", "content_filter"):
            raise self.failed(EmptyAnswer("The model ended without an answer."))
        return completion

    @property
    def is_whole(self) -> bool:
        return self.finish_reason is not None or self.native_finish_reason is not None

    def partial(self) -> Completion:
        """The answer as far as it came."""
        return Completion(
            generation_id=self.generation_id,
            model=self.model,
            provider=self.provider,
            content=self._content.decode(),
            reasoning=self._reasoning.decode(),
            reasoning_details=self._reasoning_details.details(),
            refusal=self._refusal.decode() or None,
            tool_calls=self._tool_calls.calls(),
            images=tuple(self._images),
            annotations=self._annotations.annotations(),
            finish_reason=self.finish_reason,
            native_finish_reason=self.native_finish_reason,
            usage=self.usage,
            parsing_cost=self.parsing_cost,
        )

    def failed(self, error: OpenRouterError) -> OpenRouterError:
        """The error, knowing what came before it."""
        error.generation_id = error.generation_id or self.generation_id
        error.model = error.model or self.model
        error.provider = error.provider or self.provider
        error.partial = self.partial()
        return error

    def _read_head(self, chunk: Chunk) -> None:
        # Nearly always the same as before: comparing is cheaper than reading.
        if chunk.id != self.generation_id:
            self.generation_id = as_id(chunk.id) or self.generation_id
        if chunk.model != self.model:
            self.model = as_name(chunk.model) or self.model
        if chunk.provider != self.provider:
            self.provider = as_name(chunk.provider) or self.provider
        if chunk.usage:
            self.usage = read_usage(chunk.usage) or self.usage
        if chunk.openrouter_metadata:
            self.parsing_cost = parsing_cost(chunk.openrouter_metadata)

    def _read_choice(self, choice: Choice, events: list[StreamEvent]) -> None:
        if choice.finish_reason is not None:
            self.finish_reason = as_name(choice.finish_reason, MOST_REASON) or self.finish_reason
        if choice.native_finish_reason is not None:
            self.native_finish_reason = as_name(choice.native_finish_reason, MOST_REASON) or self.native_finish_reason
        delta = choice.delta or choice.message
        if delta is None:
            return
        if delta.has_reasoning:
            events.extend(self._read_reasoning(delta))
        if delta.content:
            reasoning, content = self._think_tags.feed(_plain_text(delta.content))
            events.extend(self._add(reasoning, content))
        if delta.has_attachments:
            events.extend(self._read_attachments(delta))

    def _read_reasoning(self, delta: Delta) -> list[StreamEvent]:
        details = as_maps(delta.reasoning_details)
        for detail in details:
            self._reasoning_details.feed(detail)
        reasoning = as_text(delta.reasoning) or as_text(delta.reasoning_content) or _readable(details)
        return self._add(reasoning, "")

    def _add(self, reasoning: str, content: str) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        if reasoning:
            self._reasoning += reasoning.encode()
            events.append(ReasoningDelta(reasoning))
        if content:
            self._content += content.encode()
            events.append(ContentDelta(content))
        return events

    def _read_attachments(self, delta: Delta) -> Iterator[StreamEvent]:
        if refusal := as_text(delta.refusal):
            self._refusal += refusal.encode()
            yield RefusalDelta(refusal)
        for image in as_maps(delta.images):
            if url := as_text(as_map(image.get("image_url")).get("url")):
                self._images.append(url)
                yield ImageDelta(url)
        yield from self._annotations.feed(delta.annotations, places_hold=not self._think_tags.found)
        for piece in as_maps(delta.tool_calls):
            if call := self._tool_calls.feed(piece):
                yield call

    def _raise_error(self, error: Any) -> None:
        told = error or {"message": "The model's host failed while answering."}
        raise self.failed(read_error(told, provider=self.provider, model=self.model))


def joined(events: Sequence[StreamEvent]) -> Sequence[StreamEvent]:
    """The same, with text that arrived together in one piece: nobody waits for it, and each piece costs its readers."""
    if len(events) < 2:
        return events
    out: list[StreamEvent] = []
    for event in events:
        last = out[-1] if out else None
        if isinstance(event, ContentDelta) and isinstance(last, ContentDelta):
            out[-1] = ContentDelta(last.text + event.text)
        elif isinstance(event, ReasoningDelta) and isinstance(last, ReasoningDelta):
            out[-1] = ReasoningDelta(last.text + event.text)
        else:
            out.append(event)
    return out


def _plain_text(content: Any) -> str:
    """Content is text, or a list of parts of which the text ones count."""
    if isinstance(content, str):
        return content
    return "".join(as_text(part.get("text")) or "" for part in as_maps(content))


def _readable(details: list[Mapping[str, Any]]) -> str:
    return "".join(as_text(detail.get("text")) or as_text(detail.get("summary")) or "" for detail in details)
