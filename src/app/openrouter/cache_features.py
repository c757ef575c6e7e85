"""What the chances of a prompt depend on: features of a conversation and of a prefix, with what is assumed of them.

The assumptions are those of published chat logs: half to three quarters of conversations go on after a turn, the more
the longer they are; three quarters of the next turns come within five minutes, nearly all of them within the hour.
"""

from typing import NamedTuple

from app.openrouter.cache_blocks import SYSTEM_ROLES, PromptBlocks
from app.openrouter.cache_rhythm import Chances, Feature, Key, log_odds

LAST_STAGE = 6
"""Turns are told apart up to this one."""
NOT_SEEN = -1
"""The gap bucket of a conversation's first request."""

Route = tuple[bool, int, int]
"""Whether there are tools, where documents stand (bits), how many system blocks: alike in looks, alike in rhythm."""


class Context(NamedTuple):
    """What the chance of a conversation's return depends on."""

    route: Route
    stage: int
    is_loop: bool
    """Whether a tool's answer came last."""
    bucket: int
    """Which horizon the last gap fell into."""
    user: str | None = None


_HEAD_ROLES = ("tools", "search", *SYSTEM_ROLES)

TYPICAL = (0.42, 0.25, 0.05)
"""The chance of a return within each horizon, given none within the one before."""
BY_STAGE = ((0.36, 0.20), (0.36, 0.20), (0.42, 0.22), (0.45, 0.25), (0.49, 0.27), (0.52, 0.29), (0.55, 0.31))
"""The first two of these chances after so many turns."""
AFTER_GAP = {NOT_SEEN: 0.0, 0: 0.1, 1: -0.3, 2: -0.5, 3: -0.4}
"""Effect of the last gap on a return within the first horizon: who was slow stays slow."""
AFTER_TOOL = 1.5
"""A tool's answer is followed at once by the next call, or by the person."""
PREFIX = (0.60, 0.45, 0.25)


def _from_typical(chance: float, horizon: int) -> float:
    return log_odds(chance) - log_odds(TYPICAL[horizon])


_RETURN: Chances = (log_odds(TYPICAL[0]), log_odds(TYPICAL[1]), log_odds(TYPICAL[2]))
_PREFIX: Chances = (log_odds(PREFIX[0]), log_odds(PREFIX[1]), log_odds(PREFIX[2]))
_STAGES: tuple[Chances, ...] = tuple(
    (_from_typical(soon, 0), _from_typical(later, 1), _from_typical(later, 1) / 2) for soon, later in BY_STAGE
)


def return_features(context: Context) -> tuple[Feature, ...]:
    """What the chance of a conversation's return is made of. Variances say how far each may be from the assumption."""
    route, stage, is_loop, bucket, user = context
    features = [
        Feature("return", 0.1, _RETURN),
        Feature(("stage", stage), 0.03, _STAGES[stage]),
        Feature(("gap", bucket), 0.1, (AFTER_GAP[bucket], 0.0, 0.0)),
        Feature(("route", route), 0.1),
        Feature(("route", route, "stage", stage), 0.03),
        Feature(("route", route, "gap", bucket), 0.03),
    ]
    if is_loop:
        features.append(Feature(("loop", route), 0.3, (AFTER_TOOL, 0.0, 0.0)))
    if user is not None:
        features.append(Feature(("user", user), 0.05))
    return tuple(features)


def prefix_features(model: str, prefix: int, slot: tuple[str, int]) -> tuple[Feature, ...]:
    """What the chance of a prefix's next use by anybody is made of."""
    return Feature(("slot", *slot), 0.5, _PREFIX), Feature(("prefix", model, prefix), 1.0)


def route_of(blocks: PromptBlocks) -> Route:
    """Tools, documents and system blocks of a prompt."""
    documents, newest = 0, blocks.places[-1][0]
    if "rag" in blocks.kinds:
        for kind, role, place in zip(blocks.kinds, blocks.roles, blocks.places, strict=True):
            if kind == "rag":
                documents |= 1 if role == "system" else 2 if place[0] == newest else 4
    return blocks.roles[0] == "tools", documents, min(blocks.roles.count("system"), 3)


def slot_of(blocks: PromptBlocks, at: int) -> tuple[str, int]:
    """What and where a block is: prefixes that end there are used alike."""
    return blocks.kinds[at], at


def head_of(blocks: PromptBlocks) -> int:
    """How many blocks stand before the first message that is not a system message."""
    return next((at for at, role in enumerate(blocks.roles) if role not in _HEAD_ROLES), len(blocks))


def survival_key(blocks: PromptBlocks, at: int) -> Key:
    """Kind and role of a block, whether it is in the newest message, and for documents the size."""
    kind = blocks.kinds[at]
    size = min(blocks.tokens[at].bit_length(), 15) if kind == "rag" else 0
    return kind, blocks.roles[at], blocks.places[at][0] == blocks.places[-1][0], size
