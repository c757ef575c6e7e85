"""A chunk of a stream, or a whole body, as far as we read it: all other members are skipped unread.

Any member may be of another type than expected. The quick way takes the usual containers for granted; whatever it
refuses goes the patient way.
"""

import re
from typing import Any

import msgspec

from app.openrouter.reading import as_map


class Delta(msgspec.Struct, gc=False):
    """What a chunk adds, or the message of a whole body."""

    content: Any = None
    reasoning: Any = None
    reasoning_content: Any = None
    reasoning_details: Any = None
    refusal: Any = None
    images: Any = None
    annotations: Any = None
    tool_calls: Any = None

    @property
    def has_reasoning(self) -> bool:
        return bool(self.reasoning or self.reasoning_details or self.reasoning_content)

    @property
    def has_attachments(self) -> bool:
        return bool(self.tool_calls or self.images or self.annotations or self.refusal)


class Choice(msgspec.Struct, gc=False):
    """The one choice we ask for."""

    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: Any = None
    native_finish_reason: Any = None
    error: Any = None


class Chunk(msgspec.Struct, gc=False):
    """`usage` and `openrouter_metadata` stay text until they are read, for the sake of exact decimals."""

    id: Any = None
    model: Any = None
    provider: Any = None
    choices: list[Choice | None] | None = None
    usage: msgspec.Raw = msgspec.Raw()
    error: Any = None
    citations: Any = None
    openrouter_metadata: msgspec.Raw = msgspec.Raw()

    @property
    def choice(self) -> Choice | None:
        return self.choices[0] if self.choices else None


class _LooseChunk(msgspec.Struct):
    id: Any = None
    model: Any = None
    provider: Any = None
    choices: Any = None
    usage: msgspec.Raw = msgspec.Raw()
    error: Any = None
    citations: Any = None
    openrouter_metadata: msgspec.Raw = msgspec.Raw()


_quick = msgspec.json.Decoder(Chunk)
_patient = msgspec.json.Decoder(_LooseChunk)
_HEAD = ("id", "model", "provider", "usage", "error", "citations", "openrouter_metadata")
_HALF_CHARACTER = re.compile(r"\\u[dD][89abAB]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F]..")


def decode_chunk(payload: bytes) -> Chunk:
    """The chunk; raises `msgspec.DecodeError` when the payload is not a JSON object."""
    try:
        return _quick.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # A member of another type, a broken character, an emoji cut into its two halves: no reason to lose the answer.
        return _decode_patiently(_HALF_CHARACTER.sub(r"\\ufffd", payload.decode(errors="replace")).encode())


def _decode_patiently(payload: bytes) -> Chunk:
    loose = _patient.decode(payload)
    first = as_map(loose.choices[0]) if isinstance(loose.choices, list) and loose.choices else {}
    choice = Choice(
        delta=_delta(first.get("delta") or first.get("message")),
        finish_reason=first.get("finish_reason"),
        native_finish_reason=first.get("native_finish_reason"),
        error=first.get("error"),
    )
    return Chunk(choices=[choice], **{name: getattr(loose, name) for name in _HEAD})


def _delta(value: Any) -> Delta:
    members = as_map(value)
    return Delta(**{name: members.get(name) for name in Delta.__struct_fields__})
