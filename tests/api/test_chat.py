"""A chat turn over HTTP, from the question to the ledger."""

from decimal import Decimal

import pytest
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import Person

pytestmark = pytest.mark.anyio


async def test_an_answer_has_the_documented_fields(person: Person) -> None:
    answer = await person.chat(
        await person.begin(), "Explain the five pillars of Islam", temperature=0.7, max_tokens=4096
    )

    assert answer.status_code == 200
    body = answer.json()
    assert body["content"]
    assert body["model"] == "anthropic/claude-sonnet-5.5"
    assert set(body["usage"]) == {"prompt_tokens", "completion_tokens", "total_tokens"}
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"]
    assert body["total_cost_usd"] > 0
    assert {"message_id", "cached_tokens_read", "cache_discount_usd"} <= set(body)


async def test_the_charge_is_what_openrouter_billed(person: Person, openrouter: EmulatorProcess) -> None:
    await person.chat(await person.begin())

    usage = await person.usage()
    assert usage["messages"] == {"used": 1, "limit": 100, "remaining": 99, "reserved": 0}
    assert Decimal(str(usage["total_cost_usd"])) == Decimal(str(openrouter.bill()["total"]))
