"""The prompt of a turn, and how it is made to fit into a window of tokens."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.db.repositories.branches import PastMessage
from app.domain.context_window import FittedHistory, Room, fit_history
from app.domain.modes import mode_or_default
from app.domain.presets import PresetContent
from app.domain.prompting import PartKind, Said, WireMessage, build_messages, kinds_of
from app.openrouter.tokens import estimate_prompt_tokens
from app.services.chat_turn import Question
from app.services.message_media import MediaHandling, TurnFiles, notes_on_words
from app.services.model_call import ContextTooLong

NOTHING = FittedHistory()
ANSWER_SHARE = 4
"""A long answer may claim this part of the window (one fourth) before older messages are kept."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """System prompt, what was said before and the newest question; ``history`` is what goes along of the former."""

    system_prompt: str
    past: Sequence[Said]
    question: Question
    asked: Sequence[WireMessage]
    """The question as it is sent, without its documents; mostly one message."""
    values: str = ""
    """What the preset's variables stand for."""
    history: FittedHistory = NOTHING

    def with_files(self, handling: MediaHandling, files: TurnFiles) -> "Prompt":
        """The same prompt with what stands beside its messages."""
        if not files.asked and not files.beside:
            return self
        asked = handling.question(self.question.content, files.asked)
        return replace(self, past=handling.said(self.past, files.beside), asked=asked)

    @property
    def messages(self) -> list[WireMessage]:
        """In OpenRouter's shape."""
        return build_messages(
            system_prompt=self.system_prompt,
            history=self.history.messages,
            question=self.asked,
            documents=self.question.documents,
            summary=self.history.summary,
            values=self.values,
        )

    @property
    def kinds(self) -> list[list[PartKind]]:
        """What each part of :attr:`messages` is."""
        return kinds_of(self.history.messages, self.asked, self.question.documents, self.history.summary, self.values)

    @property
    def tokens(self) -> int:
        """Its length, guessed on the high side."""
        return estimate_prompt_tokens(self.messages)

    def room(self, window: int, history_messages: int) -> Room:
        """What a window leaves for earlier messages, whatever is asked and however long the answer may be."""
        system = tokens_of({"role": "system", "content": self.system_prompt})
        return Room(max(0, window - window // ANSWER_SHARE - system), history_messages)

    def fitted(self, window: int, max_tokens: int, history_messages: int) -> "Prompt":
        """The same prompt with as much history as fits beside the answer; raises if not even the question does."""
        bare = replace(self, history=NOTHING)
        free = window - bare.tokens - min(max_tokens, window // ANSWER_SHARE)
        if free < 0:
            raise _too_long(window, by_itself=self.room(window, history_messages).tokens > 0)
        room = self.room(window, history_messages)
        return replace(self, history=fit_history(self.past, room, free=free, tokens_of=tokens_of))

    @property
    def notes(self) -> tuple[str, ...]:
        """What the person is told of earlier messages that do not go along as they were said."""
        told = []
        if self.history.summarised:
            told.append(f"{self.history.summarised} earlier messages went along as a summary.")
        if self.history.left_out:
            told.append(f"{self.history.left_out} earlier messages were left out: there was no room for them.")
        gone = self.history.summarised + self.history.left_out
        return (*told, *notes_on_words(each for each in self.past if each.depth >= gone))


def _too_long(window: int, *, by_itself: bool) -> ContextTooLong:
    """``by_itself``: without the question the system prompt would have found room."""
    told = "This message is too long" if by_itself else "The system prompt of this preset is too long"
    advice = "Shorten it." if by_itself else "Shorten the preset, or ask without it."
    return ContextTooLong(
        f"{told} for the {window:,} tokens your plan and the model allow. {advice}",
        reason="prompt_too_long",
        attempts=(),
        retry_after=None,
    )


def assemble_prompt(
    *, mode: str, preset: PresetContent | None, question: Question, past: Sequence[PastMessage], values: str = ""
) -> Prompt:
    """Put the prompt together, as yet without what was said before."""
    system_prompt = preset.system_prompt if preset and preset.system_prompt else mode_or_default(mode).system_prompt
    asked = [{"role": "user", "content": question.content}]
    return Prompt(system_prompt, [as_said(each) for each in past], question, asked, values)


def as_said(message: PastMessage) -> Said:
    """A stored message as history needs it."""
    is_usable = message.status == "completed" or (message.status != "pending" and bool(message.content))
    return Said(
        message.id,
        message.parent_id,
        message.role,
        message.content,
        is_usable,
        message.depth,
        message.tokens_before,
        message.summary,
    )


def tokens_of(message: WireMessage) -> int:
    """Tokens of one message, guessed on the high side."""
    return estimate_prompt_tokens([message])
