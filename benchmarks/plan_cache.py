"""What planning the cache marks of a prompt costs: CPU time a plan, for a conversation of 100 messages.

    python benchmarks/plan_cache.py

Every message is a new string object, as read from the database. The limit, for a conversation that goes on, is 200
microseconds.
"""

import time

from app.openrouter.catalog import shipped_catalog
from app.openrouter.prompt_cache import CachePlanner, CachePolicy, CacheUsage

MODEL = "anthropic/claude-sonnet-4.6"
MESSAGES = 100
TURNS = 400
QUESTION = "What do the schools say about travelling and the prayer, and on which reports do they rely? "
ANSWER = "The scholars differ on this question; what follows are their positions with sources. " * 12
RULES = "You answer questions from the sources, name them, and say where scholars differ. " * 80


def conversation(number: int) -> list[dict[str, str]]:
    """A hundred messages, each a string of its own as the database gives it."""
    said = [{"role": "system", "content": "".join((RULES, ""))}]
    for at in range(MESSAGES - 1):
        text = ANSWER if at % 2 else QUESTION
        said.append({"role": "assistant" if at % 2 else "user", "content": f"{text}{number}.{at}"})
    return said


def measure(*, returns: int) -> tuple[float, float]:
    """Seconds a plan and seconds an observation, medians: each conversation is planned `returns` times more."""
    planner, profile = CachePlanner(), shipped_catalog().get(MODEL)
    planning, observing = [], []
    for turn in range(TURNS):
        number = turn // (returns + 1)
        messages = conversation(number)
        began = time.perf_counter()
        plan = planner.plan(
            messages,
            MODEL,
            now=turn * 40.0,
            profile=profile,
            conversation=f"conversation {number}",
            user="somebody",
            policy=CachePolicy(min_tokens=1_024),
        )
        planned = time.perf_counter()
        total, live = plan.ticket.blocks.ends[-1], plan.ticket.live
        read = plan.ticket.blocks.ends[live.block] if live else 0
        usage = CacheUsage(prompt_tokens=total, cached_tokens=read, cache_write_tokens=total - read)
        planner.observe(plan.ticket, usage)
        planning.append(planned - began)
        observing.append(time.perf_counter() - planned)
    return sorted(planning)[TURNS // 2], sorted(observing)[TURNS // 2]


def main() -> None:
    for name, returns in (("known conversation", 9), ("never seen before ", 0)):
        planning, observing = (min(each) for each in zip(*(measure(returns=returns) for _ in range(3)), strict=True))
        limit = " (limit 200)" if returns else ""
        print(f"{name}: plan {1e6 * planning:6.1f} µs{limit}, learn {1e6 * observing:6.1f} µs")


if __name__ == "__main__":
    main()
