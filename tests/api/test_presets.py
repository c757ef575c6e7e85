"""Presets over HTTP: keep, list, duplicate; never more than the plan allows."""

import asyncio
from collections import Counter
from typing import Any

import httpx2
import pytest

from app.core.ids import new_id
from app.domain.plans import PlanTier
from tests.conftest import Join
from tests.support.accounts import Person
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio
PRESETS = "/api/v1/presets"
DOCUMENTED: dict[str, Any] = {
    "name": "Creative Islamic Scholar",
    "slug": "creative-scholar",
    "model": "anthropic/claude-3.5-sonnet",
    "system_prompt": "You are a knowledgeable Islamic scholar...",
    "temperature": 0.9,
    "top_p": 0.95,
    "max_tokens": 4096,
    "is_public": False,
}


async def create(person: Person, **changes: Any) -> httpx2.Response:
    return await person.http.post(PRESETS, json=DOCUMENTED | changes)


async def duplicate(person: Person, preset: dict[str, Any]) -> httpx2.Response:
    return await person.http.post(f"{PRESETS}/{preset['id']}/duplicate")


async def slugs(person: Person) -> list[str]:
    return [each["slug"] for each in (await person.http.get(PRESETS)).json()["items"]]


async def test_a_preset_is_kept_as_documented(person: Person) -> None:
    answer = await create(person)

    assert answer.status_code == 201
    body = answer.json()
    assert body.items() >= DOCUMENTED.items()
    assert (body["version"], body["stable_version"], body["address"]) == (1, None, "@me/creative-scholar")
    assert (body["is_own"], body["is_read_only"]) == (True, False)
    assert (await person.http.get(PRESETS)).json() == {"items": [body], "next_cursor": None}
    assert (await person.http.get(f"{PRESETS}/{body['id']}")).json() == body


async def test_only_name_slug_and_model_are_required(person: Person) -> None:
    answer = await person.http.post(PRESETS, json={"name": "فقه", "slug": "fiqh", "model": "openai/gpt-4o"})

    assert answer.status_code == 201
    assert answer.json()["name"] == "فقه"
    assert {answer.json()[each] for each in ("system_prompt", "temperature", "top_p", "max_tokens")} == {None}


async def test_the_list_holds_ones_own_newest_first(app: ServedApp, person: Person, join_app: Join) -> None:
    await create(await join_app(app), is_public=True)
    for slug in ("first", "second"):
        await create(person, slug=slug)

    assert await slugs(person) == ["second", "first"]


# what is refused


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "x" * 101),
        ("name", "a\x00b"),
        ("slug", ""),
        ("slug", "Has Capitals"),
        ("slug", "-edge"),
        ("slug", "edge-"),
        ("slug", "two--dashes"),
        ("slug", "line\n"),
        ("slug", "ü"),
        ("slug", "x" * 61),
        ("model", "no-such/model"),
        ("temperature", 2.1),
        ("temperature", True),
        ("top_p", 0),
        ("top_p", 1.1),
        ("top_p", "0.5"),
        ("max_tokens", 0),
        ("max_tokens", 1.5),
        ("is_public", "no"),
        ("is_public", 0),
        ("system_prompt", " "),
        ("user_id", str(new_id())[:8]),
    ],
    ids=lambda value: repr(value)[:16] if not str(value).startswith("01") else "id",
)
async def test_a_wrong_field_is_named_and_nothing_kept(person: Person, field: str, value: Any) -> None:
    answer = await create(person, **{field: value})

    assert answer.status_code == 422, answer.text
    assert [each["field"] for each in answer.json()["fields"]] == [field]
    assert await slugs(person) == []


async def test_a_slug_is_ones_own_only_once(app: ServedApp, person: Person, join_app: Join) -> None:
    assert (await create(person)).status_code == 201
    again = await create(person, name="Another")

    assert (again.status_code, again.json().get("error")) == (409, "slug_taken")
    assert (await create(await join_app(app))).status_code == 201


async def test_the_plans_limit_is_told_with_its_numbers(person: Person) -> None:
    for number in range(3):
        assert (await create(person, slug=f"preset-{number}")).status_code == 201
    refused = await create(person, slug="one-too-many")

    assert refused.status_code == 400
    assert refused.json() == {
        "error": "quota_exceeded",
        "detail": "Preset limit reached (3)",
        "meter": "presets",
        "limit": 3,
        "used": 3,
    }


async def test_a_larger_plan_keeps_more(app: ServedApp, join_app: Join) -> None:
    person = await join_app(app, plan=PlanTier.PREMIUM)
    answers = await asyncio.gather(*(create(person, slug=f"preset-{number}") for number in range(21)))

    assert Counter(each.status_code for each in answers) == {201: 20, 400: 1}


async def test_of_20_parallel_creations_with_one_place_left_one_succeeds(person: Person) -> None:
    for slug in ("first", "second"):
        await create(person, slug=slug)
    answers = await asyncio.gather(*(create(person, slug=f"preset-{number}") for number in range(20)))

    assert Counter(each.status_code for each in answers) == {201: 1, 400: 19}
    assert len(await slugs(person)) == 3


async def test_of_parallel_creations_with_one_slug_one_succeeds(app: ServedApp, join_app: Join) -> None:
    person = await join_app(app, plan=PlanTier.PREMIUM)
    answers = await asyncio.gather(*(create(person) for _ in range(10)))

    assert Counter(each.status_code for each in answers) == {201: 1, 409: 9}


# duplicating


async def test_a_duplicate_is_a_private_copy_that_knows_its_origin(person: Person) -> None:
    source = (await create(person, is_public=True, description="For long evenings")).json()
    copy = (await duplicate(person, source)).json()

    new = {"id", "slug", "address", "is_public", "origin_id", "created_at", "updated_at"}
    assert {name: copy[name] for name in copy.keys() - new} == {name: source[name] for name in source.keys() - new}
    assert (copy["slug"], copy["is_public"], copy["origin_id"]) == ("creative-scholar-copy", False, source["id"])
    assert copy["id"] != source["id"]


async def test_duplicates_take_the_first_free_slug(app: ServedApp, join_app: Join) -> None:
    person = await join_app(app, plan=PlanTier.PREMIUM)
    source = (await create(person)).json()
    made = [(await duplicate(person, source)).json()["slug"] for _ in range(3)]

    assert made == ["creative-scholar-copy", "creative-scholar-copy-2", "creative-scholar-copy-3"]


async def test_parallel_duplicates_take_slugs_of_their_own(app: ServedApp, join_app: Join) -> None:
    person = await join_app(app, plan=PlanTier.PREMIUM)
    source = (await create(person)).json()
    answers = await asyncio.gather(*(duplicate(person, source) for _ in range(10)))

    assert Counter(each.status_code for each in answers) == {201: 10}
    assert len(set(await slugs(person))) == 11


@pytest.mark.parametrize("slug", ["a" * 60, "a" * 49 + "-" + "b" * 10, "copy"])
async def test_a_duplicates_slug_is_one_that_could_have_been_chosen(
    app: ServedApp, person: Person, join_app: Join, slug: str
) -> None:
    source = (await create(person, slug=slug)).json()
    copy = (await duplicate(person, source)).json()

    assert (await create(await join_app(app), slug=copy["slug"])).status_code == 201


async def test_somebody_elses_public_preset_can_be_duplicated(app: ServedApp, person: Person, join_app: Join) -> None:
    source = (await create(await join_app(app), is_public=True)).json()
    answer = await duplicate(person, source)

    assert answer.status_code == 201
    assert (answer.json()["slug"], answer.json()["origin_id"]) == ("creative-scholar", source["id"])


async def test_somebody_elses_private_preset_is_not_found(app: ServedApp, person: Person, join_app: Join) -> None:
    source = (await create(await join_app(app))).json()
    answer = await duplicate(person, source)

    assert (answer.status_code, answer.json().get("error")) == (404, "not_found")
    assert source["system_prompt"] not in answer.text


async def test_an_unknown_preset_cannot_be_duplicated(person: Person) -> None:
    assert (await duplicate(person, {"id": new_id()})).status_code == 404


async def test_the_plans_limit_holds_for_duplicates_too(person: Person) -> None:
    for number in range(3):
        source = (await create(person, slug=f"preset-{number}")).json()

    assert (await duplicate(person, source)).json()["error"] == "quota_exceeded"
    assert len(await slugs(person)) == 3
