"""Conversations as files: JSON with everything, Markdown to read."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from starlette.responses import StreamingResponse

from app.api.schemas.conversations import ConversationRead, read_message
from app.services.conversation_service import ConversationExport

_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"/\\|?*\u200e\u200f\u202a-\u202e\u2066-\u2069]+')
"""What a file's name cannot hold on one system or another, or what turns its letters around."""
_MARKUP, _ESCAPED = re.compile(r"([\\`*_\[\]<>&!#|~])"), r"\\\1"
_SPEAKERS = {"user": "Question", "assistant": "Answer"}


def as_json(export: ConversationExport) -> StreamingResponse:
    """The conversation and the messages of all branches, as one JSON object."""
    return _file(export, _json(export), "json", "application/json")


def as_markdown(export: ConversationExport) -> StreamingResponse:
    """The active branch to read."""
    return _file(export, _markdown(export), "md", "text/markdown; charset=utf-8")


async def _json(export: ConversationExport) -> AsyncIterator[str]:
    head = ConversationRead.model_validate(export.conversation).model_dump_json()
    yield f'{{"exported_at":"{export.exported_at.isoformat()}","conversation":{head},"messages":['
    separator = ""
    async for batch in export.batches:
        told = (read_message(each, batch.attachments.get(each.id, ())) for each in batch.messages)
        yield separator + ",".join(each.model_dump_json() for each in told)
        separator = ","
    yield "]}\n"


async def _markdown(export: ConversationExport) -> AsyncIterator[str]:
    yield f"# {_title(export)}\n\nExported on {export.exported_at:%Y-%m-%d %H:%M} UTC.\n"
    async for batch in export.batches:
        for each in batch.messages:
            by = f", {each.final_model_used}" if each.final_model_used else ""
            cut = "" if each.status == "completed" else f" ({each.status})"
            # No heading: answers have headings of their own, and would stand above their own speaker.
            head = f"**{_SPEAKERS[each.role]}** ({each.created_at:%Y-%m-%d %H:%M}{by}){cut}"
            files = "".join(_file_line(file) for file in batch.attachments.get(each.id, ()))
            yield f"\n---\n\n{head}\n\n{each.content}\n{_sources(each.citations)}{files}"


def _file_line(attachment: Any) -> str:
    name = re.sub(r"([\\`*_\[\]<>])", r"\\\1", attachment.name)
    return f"\n*{attachment.kind}: {name}{' (deleted)' if attachment.deleted_at else ''}*\n"


def _sources(citations: Sequence[Mapping[str, Any]] | None) -> str:
    """The pages an answer names, each once, as a numbered list of links."""
    titles: dict[str, str] = {}
    for each in citations or ():
        titles[each["url"]] = titles.get(each["url"]) or each["title"] or ""
    lines = [f"{number}. {_link(url, title)}\n" for number, (url, title) in enumerate(titles.items(), start=1)]
    return f"\nSources:\n\n{''.join(lines)}" if lines else ""


def _link(url: str, title: str) -> str:
    # Neither may end the link, nor begin something else: both are a stranger's words.
    address = url.translate({ord(each): quote(each) for each in "<>\\"})
    return f"[{_MARKUP.sub(_ESCAPED, title) or address.replace('[', '%5B').replace(']', '%5D')}](<{address}>)"


def _title(export: ConversationExport) -> str:
    return " ".join((export.conversation.title or "Conversation").split())


def _file(export: ConversationExport, content: AsyncIterator[str], ending: str, media_type: str) -> StreamingResponse:
    plain = f"conversation-{export.conversation.id}.{ending}"
    name = " ".join(_UNSAFE.sub(" ", _title(export)).split()).strip(" .")[:80].strip(" .")
    told = quote(f"{name}.{ending}" if name else plain, safe="")
    headers = {
        "Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{told}",
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingResponse(content, media_type=media_type, headers=headers)
