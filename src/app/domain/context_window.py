"""What of a conversation goes along when not everything fits: in big steps, so that the front stays the same meanwhile.

A prompt whose beginning changes with every turn is never found in a provider's cache. So older messages are left out
half a room at a time, at places that depend on the messages alone; in between the front of the prompt stays as it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.domain.prompting import Said, WireMessage, select_history

TokensOf = Callable[[WireMessage], int]
SUMMARY_DUE = 4, 3
"""A summary is made when the room is three fourths full, so that it is there when the room is over."""
KEPT_VERBATIM = 4
"""A summary leaves this part of the room (one fourth) of the newest messages as they are."""


@dataclass(frozen=True, slots=True)
class Room:
    """What earlier messages may take of a window, whatever the question: tokens, and how many they may be."""

    tokens: int
    messages: int

    @property
    def step(self) -> int:
        """So many tokens are left out at a time."""
        return max(1, self.tokens // 2)

    @property
    def message_step(self) -> int:
        """So many messages, whole pairs, are left out at a time."""
        return max(2, self.messages // 4 * 2)

    def is_nearly_full(self, *, tokens: int, messages: int) -> bool:
        """Whether it is time for a summary."""
        whole, part = SUMMARY_DUE
        return tokens * whole > self.tokens * part or messages * whole > self.messages * part


@dataclass(frozen=True, slots=True)
class FittedHistory:
    """The earlier messages that go along; ``summary`` stands for ``summarised`` messages before them."""

    messages: Sequence[WireMessage] = ()
    summary: str = ""
    summarised: int = 0
    left_out: int = 0

    @property
    def is_trimmed(self) -> bool:
        """Not everything goes along as it was said."""
        return self.summarised > 0 or self.left_out > 0


def fit_history(said: Sequence[Said], room: Room, *, free: int, tokens_of: TokensOf) -> FittedHistory:
    """The end of a branch as far as it fits into ``free`` tokens: all of it, else behind its summary, else cut.

    ``said`` may begin in mid-branch; ``free`` is what the question at hand leaves, ``room`` what decides where to cut.
    """
    if not said:
        return FittedHistory()
    count = said[-1].depth + 1
    if said[0].depth == 0 and count <= room.messages:
        everything = select_history(said)
        if _sum(everything, tokens_of) <= free:
            return FittedHistory(everything)
    at = next((index for index in range(len(said) - 1, -1, -1) if said[index].summary), None)
    summary = (said[at].summary or "") if at is not None and room.messages else ""
    left = free - tokens_of({"role": "user", "content": summary}) if summary else free
    if at is None or not summary or left < 0:
        kept = _newest(said, room, free, tokens_of, first_depth=0, first_token=0)
        return FittedHistory(select_history(kept), left_out=count - len(kept))
    rest, covered = said[at + 1 :], said[at].depth + 1
    first_token = rest[0].tokens_before if rest else 0
    kept = _newest(rest, room, left, tokens_of, first_depth=covered, first_token=first_token)
    return FittedHistory(select_history(kept), summary, covered, left_out=count - covered - len(kept))


def tokens_through(said: Sequence[Said], tokens_of: TokensOf) -> int:
    """Tokens of the branch up to its end, as far as it is sent: a pair without an answer to use is not."""
    if not said:
        return 0
    last = said[-1]
    if last.is_usable or len(said) < 2:
        return last.tokens_before + _sum(last.as_sent, tokens_of)
    return said[-2].tokens_before


def plan_summary(said: Sequence[Said], room: Room, *, capacity: int, tokens_of: TokensOf) -> Sequence[Said]:
    """The messages that a new summary is to stand for, oldest first; none if it is not time for one.

    ``said`` begins behind the last summary, or with the message that carries it. ``capacity``: tokens the summary's
    model can read. The newest pair always stays as it is.
    """
    rest = said[1:] if said and said[0].summary else said
    if not rest:
        return ()
    end, first = tokens_through(said, tokens_of), rest[0].tokens_before
    if not room.is_nearly_full(tokens=end - first, messages=len(rest)):
        return ()
    covered = 0
    for index in range(1, len(rest) - 2):
        behind = rest[index + 1]
        if rest[index].role != "assistant" or behind.tokens_before - first > capacity:
            continue
        covered = index + 1
        remaining, messages = end - behind.tokens_before, len(rest) - covered
        if remaining * KEPT_VERBATIM <= room.tokens and messages * KEPT_VERBATIM <= room.messages:
            break
    return said[: covered + len(said) - len(rest)] if covered else ()


def _newest(
    said: Sequence[Said], room: Room, free: int, tokens_of: TokensOf, *, first_depth: int, first_token: int
) -> Sequence[Said]:
    """The newest messages that fit, cut at whole steps counted from a place that does not move."""
    if not said:
        return said
    skipped = 0
    while said[-1].depth + 1 - first_depth - skipped > room.messages:
        skipped += room.message_step
    kept = [each for each in said if each.depth - first_depth >= skipped]
    while kept and _sum(select_history(kept), tokens_of) > free:
        # The next step that leaves anything out at all: a small room has more of them than there are messages.
        cut = ((kept[0].tokens_before - first_token) // room.step + 1) * room.step
        starts = (at for at, each in enumerate(kept) if each.role == "user" and each.tokens_before - first_token >= cut)
        kept = kept[next(starts, len(kept)) :]
    return kept


def _sum(messages: Sequence[WireMessage], tokens_of: TokensOf) -> int:
    return sum(tokens_of(each) for each in messages)
