"""What goes along with a message beside its text: pictures, documents and recordings, as OpenRouter wants them.

While a prompt is planned a part stands for its bytes, as ``{"media": Media}``: it is measured and told from others
without them. Only the prompt that is sent holds them, and only as long as it is being sent.
"""

import base64
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

MediaKind = Literal["image", "pdf", "audio"]
Wire = Mapping[str, Any]

PIXELS_PER_TOKEN = 600
FEWEST_PICTURE_TOKENS, MOST_PICTURE_TOKENS = 300, 1_600
"""Claude counts a token for 750 pixels and scales down what has more than 1,600 of them; Gemini counts 258 for each
tile of 768 pixels, GPT 85 and 170 for each of 512."""
TOKENS_PER_PAGE = 2_500
"""Claude counts 1,500 to 3,000 a page: its text, and its picture."""
UNSEEN_PAGES = 10
"""What a document is taken for that only its host will see."""
TOKENS_PER_SECOND = 40
"""Gemini counts 32 a second, GPT 10."""
BYTES_PER_SECOND = 4_000
"""A recording of unknown length is taken for speech at 32 kbit/s: few are packed tighter."""

AUDIO_FORMATS: Mapping[str, str] = {
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/mpeg": "mp3",
    "audio/mp4": "m4a",
    "audio/ogg": "ogg",
    "audio/flac": "flac",
    "audio/aac": "aac",
    "audio/aiff": "aiff",
}
"""By media type, the name under which OpenRouter takes a recording."""


@dataclass(frozen=True, kw_only=True)
class Media:
    """One picture, document or recording. `source` is an https URL, or the SHA-256 of the bytes that will be sent."""

    kind: MediaKind
    name: str
    source: str
    media_type: str = ""
    size_bytes: int = 0
    width: int | None = None
    height: int | None = None
    pages: int | None = None
    has_text: bool | None = None
    """Of a document: whether its text can be read without looking at its pages; None: nobody knows."""
    seconds: float | None = None
    held_as: Any = field(default=None, compare=False, repr=False)
    """By what whoever holds the bytes finds them."""

    @property
    def is_link(self) -> bool:
        """It lies elsewhere: the model's host fetches it."""
        return self.source.startswith("https://")

    @cached_property
    def tokens(self) -> int:
        """Tokens of the prompt, guessed on the high side."""
        if self.kind == "image":
            pixels = (self.width or 0) * (self.height or 0)
            wanted = math.ceil(pixels / PIXELS_PER_TOKEN) if pixels else MOST_PICTURE_TOKENS
            return min(MOST_PICTURE_TOKENS, max(FEWEST_PICTURE_TOKENS, wanted))
        if self.kind == "pdf":
            return (self.pages or UNSEEN_PAGES) * TOKENS_PER_PAGE
        return math.ceil((self.seconds or self.size_bytes / BYTES_PER_SECOND) * TOKENS_PER_SECOND)

    @property
    def identity(self) -> str:
        """What tells it from others in a prompt: two with the same are sent as the same bytes."""
        return f"{self.kind}\x00{self.name if self.kind == 'pdf' else ''}\x00{self.media_type}\x00{self.source}"

    @property
    def described(self) -> str:
        """What it is, in words: `Picture "a.png", 640x480`."""
        size = {
            "image": f", {self.width}x{self.height}" if self.width and self.height else "",
            "pdf": f", {self.pages} page{'s' if self.pages != 1 else ''}" if self.pages else "",
            "audio": f", {self.seconds:.0f} s" if self.seconds else "",
        }[self.kind]
        return f'{_NOUNS[self.kind]} "{self.name}"{size}'

    def part(self) -> dict[str, Any]:
        """It as a part of a prompt that is being planned."""
        return {"media": self}

    def wire(self, contents: Mapping[str, bytes]) -> dict[str, Any]:
        """It as OpenRouter takes it; `contents` holds the bytes, by source."""
        if self.kind == "image":
            return {"type": "image_url", "image_url": {"url": self._url(contents)}}
        if self.kind == "pdf":
            return {"type": "file", "file": {"filename": self.name, "file_data": self._url(contents)}}
        data = base64.b64encode(contents[self.source]).decode()
        return {"type": "input_audio", "input_audio": {"data": data, "format": AUDIO_FORMATS[self.media_type]}}

    def _url(self, contents: Mapping[str, bytes]) -> str:
        if self.is_link:
            return self.source
        return f"data:{self.media_type};base64,{base64.b64encode(contents[self.source]).decode()}"


_KINDS: Mapping[str, MediaKind] = {"image_url": "image", "file": "pdf", "input_audio": "audio"}
_NOUNS: Mapping[str, str] = {"image": "Picture", "pdf": "Document", "audio": "Recording"}


def with_media(text: str, media: Sequence[Media]) -> str | list[dict[str, Any]]:
    """The content of a message: its text, then what goes with it, in the order it was given."""
    if not media:
        return text
    return [{"type": "text", "text": text}, *(each.part() for each in media)]


def kinds_in(messages: Iterable[Wire]) -> frozenset[MediaKind]:
    """What kinds go along with a prompt, whether planned here or given in OpenRouter's shape."""
    parts = [part for message in messages for part in _parts_of(message)]
    raw = {_KINDS[part["type"]] for part in parts if part.get("type") in _KINDS}
    return frozenset(raw | {part["media"].kind for part in parts if "media" in part})


def raw_tokens(part: Wire) -> int:
    """Tokens of a part that is not text and came in OpenRouter's shape, of whose content nothing is known."""
    kind = _KINDS.get(part.get("type", ""))
    if kind is None:
        return 0
    data = str((part.get("input_audio") or {}).get("data") or "")
    return Media(kind=kind, name="", source="", size_bytes=len(data) * 3 // 4).tokens


def _parts_of(message: Wire) -> Sequence[Wire]:
    content = message.get("content")
    return content if isinstance(content, list | tuple) else ()


def media_in(messages: Iterable[Wire]) -> Iterator[Media]:
    """All that stands for bytes or links in a planned prompt."""
    for message in messages:
        yield from (part["media"] for part in _parts_of(message) if "media" in part)


def as_sent(messages: Sequence[Wire], contents: Mapping[str, bytes]) -> Sequence[Wire]:
    """A planned prompt as it goes out, with the marks it bears."""
    return [_as_sent(message, contents) for message in messages]


def _as_sent(message: Wire, contents: Mapping[str, bytes]) -> Wire:
    parts = _parts_of(message)
    if not any("media" in part for part in parts):
        return message
    return {**message, "content": [_part_as_sent(part, contents) for part in parts]}


def _part_as_sent(part: Wire, contents: Mapping[str, bytes]) -> Wire:
    if "media" not in part:
        return part
    marks = {name: value for name, value in part.items() if name != "media"}
    media: Media = part["media"]
    return media.wire(contents) | marks
