"""What stands beside messages, on its way into a prompt: what goes along, what is told in words only, and why."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import msgspec

from app.core.errors import InvalidField
from app.db.models import ParsedFile
from app.domain.links import Link
from app.domain.prompting import Said, WireMessage
from app.openrouter.media import Media, MediaKind, with_media
from app.openrouter.models import ModelProfile
from app.openrouter.parsed_files import EngineChoice, PdfOption, ReadBefore, Reading, choose_engine, introduced
from app.openrouter.routing import Needs

MOST_REQUEST_BYTES = 40_000_000
"""Of all files that go along with one prompt; base64 makes a third more of them."""
_STEP = MOST_REQUEST_BYTES // 2
"""So many bytes are left out at a time: between two steps the front of the prompt stays as it is."""
_SENSES = {"image": "see pictures", "audio": "hear recordings"}
"""What a model needs a sense of its own for, and what it cannot do without. Documents are read for it."""
DELETED, TOO_MUCH = "it was deleted", "there is too much to send it again"


@dataclass(frozen=True, slots=True)
class Beside:
    """A file at its place beside a message."""

    media: Media
    is_gone: bool = False


def link_beside(link: Link) -> Beside:
    """A file that lies elsewhere."""
    return Beside(Media(kind=link.kind, name=link.name, source=link.url))


def needs_of(kinds: Iterable[MediaKind], *, native: bool = False) -> Needs:
    """What a model has to be able to do for these; ``native``: it must read documents itself."""
    kinds = set(kinds)
    return Needs(images="image" in kinds, audio="audio" in kinds, native_files=native and "pdf" in kinds)


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnFiles:
    """The files of a turn: beside the question ``asked``, and ``beside`` earlier messages, oldest first, by their ids.

    ``parsed``: by source, what was read of the documents among them before.
    """

    asked: Sequence[Beside] = ()
    beside: Mapping[UUID, Sequence[Beside]] = field(default_factory=dict)
    parsed: Mapping[str, Sequence[ReadBefore]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaHandling:
    """What becomes of files beside messages in one prompt: ``refused`` kinds are told in words, with a reason each."""

    refused: Mapping[str, str]
    engine: EngineChoice
    too_much: frozenset[UUID] = frozenset()
    """Messages whose files are not sent again."""

    def question(self, text: str, beside: Sequence[Beside]) -> tuple[WireMessage, ...]:
        """The newest turn, mostly one message."""
        sent, words, _ = self._split(beside, None)
        return self._asked(text, sent, words, None)

    def said(self, said: Sequence[Said], beside: Mapping[UUID, Sequence[Beside]]) -> list[Said]:
        """Earlier messages with what stands beside them; what was read with an answer comes back with that answer."""
        answers = {each.answers: each.id for each in said if each.role == "assistant" and each.is_usable}
        read: dict[UUID, list[Mapping[str, Any]]] = {}
        out = []
        for each in said:
            dressed = each
            if each.role == "user" and beside.get(each.id):
                sent, words, reasons = self._split(beside[each.id], each.id)
                answer = answers.get(each.id)
                dressed = replace(each, wire=self._asked(each.content, sent, words, answer), in_words=reasons)
                if answer is not None:
                    read[answer] = [found.annotation for found in self._known(sent) if _came_with(found, answer)]
            elif read.get(each.id):
                answered = {"role": "assistant", "content": each.content, "annotations": read[each.id]}
                dressed = replace(each, wire=(answered,))
            out.append(dressed)
        return out

    def _asked(
        self, text: str, sent: Sequence[Media], words: Sequence[str], answer: UUID | None
    ) -> tuple[WireMessage, ...]:
        told = "\n".join((text, "", *words)) if words else text
        message = {"role": "user", "content": with_media(told, sent)}
        here = [each for each in sent if (found := self._found(each)) and not _came_with(found, answer)]
        annotations = [self.engine.known[each.source].annotation for each in here]
        return tuple(dict(each) for each in introduced(message, annotations, {each.source for each in here}))

    def _known(self, sent: Sequence[Media]) -> list[ReadBefore]:
        return [found for each in sent if (found := self._found(each))]

    def _found(self, media: Media) -> ReadBefore | None:
        return self.engine.known.get(media.source) if media.kind == "pdf" else None

    def _split(
        self, beside: Sequence[Beside], message_id: UUID | None
    ) -> tuple[list[Media], list[str], tuple[str, ...]]:
        sent, words, reasons = [], [], []
        for each in beside:
            reason = DELETED if each.is_gone else self.refused.get(each.media.kind)
            reason = reason or (TOO_MUCH if message_id in self.too_much else None)
            if reason is None:
                sent.append(each.media)
            else:
                words.append(f"[{each.media.described}, shown earlier; {reason}]")
                reasons.append(reason)
        return sent, words, tuple(reasons)


def handle_media(
    *,
    profile: ModelProfile | None,
    closed: Collection[str],
    option: PdfOption,
    files: TurnFiles,
) -> MediaHandling:
    """What of it goes along with a prompt for a model. ``closed`` are kinds that the plan does not have (any more)."""
    refused = _refused(profile, closed)
    earlier = [each for beside in files.beside.values() for each in beside]
    pdfs = [each.media for each in (*earlier, *files.asked) if each.media.kind == "pdf" and not each.is_gone]
    reads = profile is not None and profile.reads("file")
    engine = choose_engine(option, model_reads_files=reads, files=pdfs, before=files.parsed)
    room = MOST_REQUEST_BYTES - sum(each.media.size_bytes for each in files.asked)
    if room < 0:
        raise InvalidField("attachment_ids", f"name more than {MOST_REQUEST_BYTES:,} bytes; send less at once.")
    return MediaHandling(refused=refused, engine=engine, too_much=_too_much(files.beside, refused, room))


def notes_on_words(said: Iterable[Said]) -> tuple[str, ...]:
    """What a person is told of earlier files that went along in words only."""
    reasons = Counter(reason for each in said for reason in each.in_words)
    return tuple(
        f"{count} earlier {'file' if count == 1 else 'files'} went along in words only: {reason}."
        for reason, count in sorted(reasons.items())
    )


def notes_on_reading(reading: Reading) -> tuple[str, ...]:
    """What reading the documents costs, before it is done."""
    if not reading.is_recognition:
        return ()
    names = ", ".join(f'"{each.name}"' for each in reading.fresh)
    price = f"$0.002 a page, about ${reading.most_usd:.3f} in all" if reading.pages else "$0.002 a page"
    return (f"The pages of {names} are read by OCR at {price}.",)


def read_before(rows: Iterable[ParsedFile], *, sources: Mapping[str, str]) -> dict[str, list[ReadBefore]]:
    """Stored rows by source; ``sources`` maps their hashes to it."""
    found: dict[str, list[ReadBefore]] = {}
    for row in rows:
        annotation = msgspec.json.decode(row.annotation)
        told = ReadBefore(row.engine, str(row.message_id), annotation)  # type: ignore[arg-type]  # as it was written
        found.setdefault(sources[row.file_hash], []).append(told)
    return found


def _came_with(found: ReadBefore, answer: UUID | None) -> bool:
    return answer is not None and found.message_id == str(answer)


def _refused(profile: ModelProfile | None, closed: Collection[str]) -> dict[str, str]:
    unable = (kind for kind in _SENSES if profile is not None and not profile.reads(kind))
    refused = {kind: f"this model cannot {_SENSES[kind]}" for kind in unable}
    return refused | dict.fromkeys(closed, "it is not read on this plan")


def _too_much(beside: Mapping[UUID, Sequence[Beside]], refused: Mapping[str, str], room: int) -> frozenset[UUID]:
    sizes = [
        (message_id, sum(each.media.size_bytes for each in files if _is_sent(each, refused)))
        for message_id, files in beside.items()
    ]
    total = sum(size for _, size in sizes)
    if total <= room:
        return frozenset()
    skipped = -(-(total - room) // _STEP) * _STEP
    dropped, gone = set(), 0
    for message_id, size in sizes:
        if size and gone < skipped:
            dropped.add(message_id)
            gone += size
    return frozenset(dropped)


def _is_sent(each: Beside, refused: Mapping[str, str]) -> bool:
    return not each.is_gone and each.media.kind not in refused
