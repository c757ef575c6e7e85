"""Pictures on the wire: asked for on the route made for them or in a chat, and read however they come."""

import binascii
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from app.openrouter.error_reading import read_error
from app.openrouter.errors import Moderated, NoPicture, UnreadableAnswer
from app.openrouter.reading import as_maps, as_text, read_usage
from app.openrouter.types import ChatRequest, Completion, Usage

_CHAT_TOKENS = 8_192
"""Room for a picture and the words beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """Pictures to ask one model for."""

    model: str
    prompt: str
    count: int = 1
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """By the names of `POST /images`; in a chat only those that it has a place for are sent."""
    references: Sequence[str] = ()
    """Pictures to go by, as URLs, mostly `data:` ones."""
    modalities: tuple[str, ...] = ()
    """Where the model draws in chats only: what to ask it for. Image-only models refuse to be asked for text."""
    user: str | None = None

    def to_wire(self) -> dict[str, Any]:
        """The body of `POST /images`."""
        body: dict[str, Any] = {"model": self.model, "prompt": self.prompt, **self.parameters}
        if self.count > 1:
            body["n"] = self.count
        if self.references:
            body["input_references"] = [_image(url) for url in self.references]
        return body | ({"user": self.user} if self.user else {})

    def as_chat(self) -> ChatRequest:
        """The same as a question in a chat."""
        content: str | list[dict[str, Any]] = self.prompt
        if self.references:
            content = [{"type": "text", "text": self.prompt}, *map(_image, self.references)]
        names = {"aspect_ratio": "aspect_ratio", "resolution": "image_size", "quality": "quality"}
        config = {there: self.parameters[here] for here, there in names.items() if here in self.parameters}
        return ChatRequest(
            messages=[{"role": "user", "content": content}],
            model=self.model,
            max_tokens=_CHAT_TOKENS,
            modalities=self.modalities,
            image_config=config or None,
            seed=self.parameters.get("seed"),
            user=self.user,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """What came of one call. `pictures` are bytes that claim to be pictures; `unreadable` ones were no base64, lay
    elsewhere, or were too large.
    """

    pictures: tuple[bytes, ...]
    unreadable: int
    model: str
    provider: str | None
    generation_id: str | None
    usage: Usage | None


def read_images(
    body: bytes, *, model: str, provider: str | None, generation_id: str | None, most_bytes: int
) -> Drawing:
    """The answer of `POST /images`. Its `media_type` is not believed, and its `created` may be anything."""
    try:
        answer = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        data = msgspec.json.decode(answer.get("data") or b"null")
        error = msgspec.json.decode(answer.get("error") or b"null")
        usage = read_usage(answer.get("usage") or msgspec.Raw())
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise UnreadableAnswer("OpenRouter sent no pictures that can be read.", generation_id=generation_id) from (
            problem
        )
    if error:
        raise read_error(error, model=model, provider=provider, generation_id=generation_id)
    rows = as_maps(data)
    found = [as_text(row.get("b64_json")) or as_text(row.get("url")) for row in rows]
    told = Completion(generation_id=generation_id, model=model, provider=provider, usage=usage)
    return _drawing([each for each in found if each], told, model, most_bytes)


def read_chat(completion: Completion, *, model: str, most_bytes: int) -> Drawing:
    """The pictures of a chat's answer."""
    return _drawing(completion.images, completion, model, most_bytes)


def decode_picture(text: str, *, most_bytes: int) -> bytes | None:
    """The bytes of a `data:` URL or of bare base64; None for anything else, and for more than `most_bytes`."""
    if text.startswith("data:"):
        head, _, text = text.partition(",")
        if not head.endswith(";base64"):
            return None
    if len(text) > most_bytes * 4 // 3 + 8:
        return None
    text = "".join(text.split())
    try:
        found = b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    return found if 0 < len(found) <= most_bytes else None


def _drawing(urls: Sequence[str], told: Completion, model: str, most_bytes: int) -> Drawing:
    if not urls:
        raise _no_picture(told, model)
    decoded = [decode_picture(url, most_bytes=most_bytes) for url in urls]
    pictures = tuple(each for each in decoded if each is not None)
    if not pictures:
        raise UnreadableAnswer(
            "The model's pictures cannot be read.",
            provider=told.provider,
            model=told.model or model,
            generation_id=told.generation_id,
            retryable=False,
            partial=told,
        )
    return Drawing(
        pictures=pictures,
        unreadable=len(decoded) - len(pictures),
        model=told.model or model,
        provider=told.provider,
        generation_id=told.generation_id,
        usage=told.usage,
    )


def _no_picture(told: Completion, model: str) -> NoPicture | Moderated:
    is_withheld = told.refusal is not None or told.finish_reason == "content_filter"
    kind = Moderated if is_withheld else NoPicture
    return kind(
        "The model refused to draw this." if is_withheld else "The model sent words, but no picture.",
        provider=told.provider,
        model=told.model or model,
        generation_id=told.generation_id,
        partial=told,
    )


def _image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}
