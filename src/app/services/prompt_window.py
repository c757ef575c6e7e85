"""The prompt of a turn, and how it is made to fit into a window of tokens."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.db.models import ModelPreset
from app.db.repositories.branches import PastMessage
from app.domain.modes import mode_or_default
from app.domain.prompting import PartKind, Said, WireMessage, build_messages, fit_history, kinds_of, select_history
from app.openrouter.tokens import estimate_prompt_tokens
from app.services.chat_turn import Question
from app.services.model_call import ContextTooLong

ANSWER_SHARE = 4
"""A long answer may claim this part of the window (one fourth) before older messages are kept."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """System prompt, history and the newest question; ``is_trimmed`` once older messages were left out."""

    system_prompt: str
    history: Sequence[WireMessage]
    question: Question
    is_trimmed: bool

    @property
    def messages(self) -> list[WireMessage]:
        """In OpenRouter's shape."""
        return build_messages(
            system_prompt=self.system_prompt,
            history=self.history,
            question=self.question.content,
            documents=self.question.documents,
        )

    @property
    def kinds(self) -> list[list[PartKind]]:
        """What each part of :attr:`messages` is."""
        return kinds_of(self.history, self.question.documents)

    @property
    def tokens(self) -> int:
        """Its length, guessed on the high side."""
        return estimate_prompt_tokens(self.messages)

    def fitted(self, window: int, max_tokens: int) -> "Prompt":
        """The same prompt with as much history as fits beside the answer; raises if not even the question does."""
        bare = replace(self, history=())
        room = window - bare.tokens - min(max_tokens, window // ANSWER_SHARE)
        if room < 0:
            raise ContextTooLong(
                f"This message is too long for the {window:,} tokens your plan and the model allow. Shorten it.",
                reason="prompt_too_long",
                attempts=(),
                retry_after=None,
            )
        kept = fit_history(self.history, room, lambda message: estimate_prompt_tokens([message]))
        return replace(self, history=kept, is_trimmed=self.is_trimmed or len(kept) < len(self.history))


def assemble_prompt(
    *, mode: str, preset: ModelPreset | None, question: Question, past: Sequence[PastMessage], more: bool
) -> Prompt:
    """Put the prompt together; ``more`` says that there are older messages than ``past``."""
    system_prompt = preset.system_prompt if preset and preset.system_prompt else mode_or_default(mode).system_prompt
    return Prompt(system_prompt, select_history([_as_said(each) for each in past]), question, more)


def _as_said(message: PastMessage) -> Said:
    is_usable = message.status == "completed" or (message.status != "pending" and bool(message.content))
    return Said(message.id, message.parent_id, message.role, message.content, is_usable)
