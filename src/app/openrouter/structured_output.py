"""Answers that have to fit a schema: read, healed where only the syntax is wrong, sent back where more is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from pydantic_core import from_json

from app.openrouter.answer_schema import AnswerSchema
from app.openrouter.errors import AnswerMisfit, Misfit
from app.openrouter.json_healing import NotJson, read_json
from app.openrouter.types import Completion

Outcome = Literal["valid", "healed", "repaired"]
"""How data came to fit: as it was said, with its syntax mended here, or said anew by a model told of its errors."""

MOST_ECHO_CHARS = 16_000
"""How much of its answer a model is shown again; of a longer one it gets none, and writes a new one."""
REPAIR_OVERHEAD_TOKENS = 1_500
"""What the request to mend an answer takes beside that answer: at most ten errors and where they are."""


def repair_tokens(max_tokens: int) -> int:
    """How much longer a prompt gets at most when an answer of `max_tokens` is sent back to be mended."""
    return min(max_tokens, MOST_ECHO_CHARS) + REPAIR_OVERHEAD_TOKENS


@dataclass(frozen=True, slots=True)
class StructuredAnswer:
    """Data that fits its schema."""

    data: Any
    is_healed: bool


def read_answer(completion: Completion, schema: AnswerSchema) -> StructuredAnswer:
    """The data of a whole answer; raises :class:`AnswerMisfit`."""
    if completion.refusal:
        raise AnswerMisfit(completion, [Misfit("/", "the model refused to answer")])
    if completion.finish_reason == "length":
        raise AnswerMisfit(completion, [Misfit("/", "the answer was cut at max_tokens")])
    try:
        data, is_healed = read_json(completion.content)
    except NotJson as error:
        misfits = [Misfit("/", f"is not JSON: {error}")]
    else:
        misfits = schema.misfits(data)
        if not misfits:
            return StructuredAnswer(data, is_healed)
    raise AnswerMisfit(completion, misfits, repair=_repair(completion.content, misfits))


def _repair(content: str, misfits: Sequence[Misfit]) -> list[Mapping[str, Any]]:
    told = "\n".join(f"- at {each.place}: {each.message}" for each in misfits)
    asked = (
        "Your answer does not fit the JSON schema it has to fit:\n"
        f"{told}\n"
        "Answer again with the whole corrected JSON and nothing else."
    )
    echo = [{"role": "assistant", "content": content}] if 0 < len(content) <= MOST_ECHO_CHARS else []
    return [*echo, {"role": "user", "content": asked}]


class PartialAnswer:
    """The data of an answer that is still being written, as far as it can be read.

    Each time it is told it is told whole, so it is told again only when the text has grown by a tenth: all of it
    together stays within about ten times the answer, however small the pieces.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0
        self._next_at = 0
        self._last: Any = None

    def add(self, text: str) -> Any | None:
        """The data with this piece; ``None`` when nothing new is to be told."""
        self._pieces.append(text)
        self._length += len(text)
        if self._length < self._next_at:
            return None
        read = self._read()
        if read is None or read == self._last:
            return None
        self._last, self._next_at = read, self._length + self._length // 10
        return read

    def _read(self) -> Any | None:
        whole = "".join(self._pieces)
        self._pieces = [whole]
        starts = [place for place in (whole.find("{"), whole.find("[")) if place >= 0]
        if not starts:
            return None
        try:
            read = from_json(whole[min(starts) :].encode(), allow_inf_nan=False, allow_partial="trailing-strings")
            msgspec.json.encode(read)
        except (ValueError, RecursionError):
            return None
        return read if isinstance(read, dict | list) else None
