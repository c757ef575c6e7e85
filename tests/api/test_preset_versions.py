"""Presets over HTTP: versions, what changed, back again, and who may see, copy and change them."""

import asyncio
import secrets
import time
from collections import Counter
from typing import Any
from uuid import UUID

import httpx2
import pytest

from app.domain.audit import Actor, ActorKind
from app.domain.plans import PlanTier
from tests.conftest import Join
from tests.support.accounts import Person
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio
PRESETS = "/api/v1/presets"


async def create(person: Person, **changes: Any) -> dict[str, Any]:
    body = {"name": "Scholar", "slug": "scholar", "model": "openai/gpt-4o", "system_prompt": "Cite sources."}
    answer = await person.http.post(PRESETS, json=body | changes)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def change(person: Person, preset: dict[str, Any], **changes: Any) -> httpx2.Response:
    return await person.http.patch(f"{PRESETS}/{preset['id']}", json=changes)


async def versions(person: Person, preset: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await person.http.get(f"{PRESETS}/{preset['id']}/versions")).json()
    return found


# versions


async def test_a_change_makes_a_version_and_leaves_the_earlier_ones(person: Person) -> None:
    preset = await create(person, temperature=0.2)
    changed = (await change(person, preset, system_prompt="Cite verses.", temperature=None)).json()

    assert (changed["version"], changed["system_prompt"], changed["temperature"]) == (2, "Cite verses.", None)
    found = await versions(person, preset)
    assert [each["version"] for each in found] == [2, 1]
    assert [each["content"]["system_prompt"] for each in found] == ["Cite verses.", "Cite sources."]
    assert [each["content"]["temperature"] for each in found] == [None, 0.2]


async def test_what_changes_nothing_and_what_is_no_content_make_no_version(person: Person) -> None:
    preset = await create(person)
    assert (await change(person, preset, system_prompt="Cite sources.")).json()["version"] == 1
    moved = (await change(person, preset, slug="teacher", is_public=True)).json()
    assert (moved["version"], moved["slug"], moved["is_public"]) == (1, "teacher", True)


async def test_the_difference_names_fields_with_both_values(person: Person) -> None:
    preset = await create(person)
    await change(person, preset, model="openai/gpt-4o-mini", max_tokens=50)
    answer = await person.http.get(f"{PRESETS}/{preset['id']}/diff", params={"from": 1, "to": 2})

    assert answer.json()["changes"] == [
        {"field": "model", "before": "openai/gpt-4o", "after": "openai/gpt-4o-mini"},
        {"field": "max_tokens", "before": None, "after": 50},
    ]
    missing = await person.http.get(f"{PRESETS}/{preset['id']}/diff", params={"from": 1, "to": 9})
    assert missing.status_code == 404


async def test_rolling_back_makes_a_new_version_of_the_old_content(person: Person) -> None:
    preset = await create(person)
    await change(person, preset, system_prompt="Worse.", name="Other")
    back = (await person.http.post(f"{PRESETS}/{preset['id']}/rollback", json={"version": 1})).json()

    assert (back["version"], back["system_prompt"], back["name"]) == (3, "Cite sources.", "Scholar")
    assert len(await versions(person, preset)) == 3


async def test_one_version_is_called_stable_by_its_owner(person: Person) -> None:
    preset = await create(person)
    await change(person, preset, system_prompt="Newer.")
    where = f"{PRESETS}/{preset['id']}/stable"

    assert (await person.http.put(where, json={"version": 1})).json()["stable_version"] == 1
    assert [each["is_stable"] for each in await versions(person, preset)] == [False, True]
    assert (await person.http.put(where, json={"version": 9})).status_code == 404
    assert (await person.http.put(where, json={"version": None})).json()["stable_version"] is None


async def test_of_two_who_change_the_same_version_one_is_told_of_the_other(person: Person) -> None:
    preset = await create(person)
    answers = await asyncio.gather(
        *(change(person, preset, system_prompt=f"Text {number}", expected_version=1) for number in range(5))
    )
    assert Counter(each.status_code for each in answers) == {200: 1, 409: 4}
    refused = next(each.json() for each in answers if each.status_code == 409)
    assert (refused["error"], refused["version"]) == ("preset_changed", 2)
    assert len(await versions(person, preset)) == 2


async def test_changes_at_once_each_make_their_own_version(person: Person) -> None:
    preset = await create(person)
    answers = await asyncio.gather(*(change(person, preset, system_prompt=f"Text {number}") for number in range(8)))
    assert {each.status_code for each in answers} == {200}
    assert [each["version"] for each in await versions(person, preset)] == list(range(9, 0, -1))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "nobody/knows-it"),
        ("model", "@me/scholar"),
        ("fallback_models", ["nobody/knows-it"]),
        ("fallback_models", ["@me/scholar"]),
        ("response_schema", {"type": "string", "pattern": "("}),
        ("variables", {"Bad Name": {"type": "string"}}),
        ("variables", {"school": {"type": "enum"}}),
        ("variables", {"school": {"type": "boolean", "minimum": 1}}),
        ("variables", {"school": {"type": "enum", "options": ["a"], "default": "b"}}),
    ],
)
async def test_what_cannot_be_kept_is_named(person: Person, field: str, value: Any) -> None:
    preset = await create(person)
    answer = await change(person, preset, **{field: value})

    assert answer.status_code == 422, answer.text
    assert [each["field"] for each in answer.json()["fields"]] == [field]
    assert len(await versions(person, preset)) == 1


@pytest.mark.parametrize("body", [{}, {"expected_version": 1}, {"name": None}, {"is_public": None}])
async def test_a_change_says_what(person: Person, body: dict[str, Any]) -> None:
    preset = await create(person)
    assert (await person.http.patch(f"{PRESETS}/{preset['id']}", json=body)).status_code == 422


async def test_a_slug_cannot_be_changed_to_one_that_is_taken(person: Person) -> None:
    await create(person)
    other = await create(person, slug="other")
    answer = await change(person, other, slug="scholar")
    assert (answer.status_code, answer.json()["error"]) == (409, "slug_taken")


async def test_a_deleted_preset_is_gone_and_makes_room(person: Person) -> None:
    made = [await create(person, slug=f"p{number}") for number in range(3)]
    assert (await person.http.delete(f"{PRESETS}/{made[0]['id']}")).status_code == 204
    assert (await person.http.get(f"{PRESETS}/{made[0]['id']}")).status_code == 404
    assert (await person.http.delete(f"{PRESETS}/{made[0]['id']}")).status_code == 404
    await create(person, slug="again")


async def test_after_a_smaller_plan_the_last_ones_can_only_be_used_and_deleted(app: ServedApp, join_app: Join) -> None:
    person = await join_app(app, plan=PlanTier.PREMIUM)
    made = [await create(person, slug=f"p{number}") for number in range(5)]
    await app.services.subscriptions.set_plan(Actor(ActorKind.CLI), person.user_id, PlanTier.FREE, reason="a test")

    listed = (await person.http.get(PRESETS)).json()["items"]
    assert [each["is_read_only"] for each in listed] == [True, True, False, False, False]
    refused = await change(person, made[4], system_prompt="New")
    assert (refused.status_code, refused.json()["error"]) == (403, "preset_read_only")
    assert (await change(person, made[2], system_prompt="New")).status_code == 200
    await person.http.delete(f"{PRESETS}/{made[0]['id']}")
    assert (await change(person, made[3], system_prompt="New")).status_code == 200


async def test_a_prompt_that_caches_badly_is_warned_of_and_its_variables_are_not(person: Person) -> None:
    preset = await create(
        person,
        system_prompt="It is 2026-11-25 10:31:07.\nThe school is {{school}}.",
        variables={"school": {"type": "string", "default": "Hanafi"}},
    )
    assert [(each["line"], each["breaks"]) for each in preset["warnings"]] == [(1, True)]


async def test_a_retired_model_is_told_with_its_successor_and_kept(person: Person) -> None:
    preset = await create(person, model="anthropic/claude-3.5-sonnet")
    assert (preset["model"], preset["is_model_retired"]) == ("anthropic/claude-3.5-sonnet", True)
    assert preset["successor"] == "anthropic/claude-sonnet-5.5"
    assert (await create(person, slug="living"))["is_model_retired"] is False


# what others see


async def test_somebody_elses_private_preset_is_not_found_whatever_one_does(
    app: ServedApp, person: Person, join_app: Join
) -> None:
    author = await join_app(app)
    preset = await create(author)
    where = f"{PRESETS}/{preset['id']}"
    answers = [
        await person.http.get(where),
        await person.http.patch(where, json={"name": "Mine"}),
        await person.http.delete(where),
        await person.http.post(f"{where}/duplicate"),
        await person.http.get(f"{where}/versions"),
        await person.http.get(f"{where}/diff", params={"from": 1, "to": 1}),
        await person.http.post(f"{where}/rollback", json={"version": 1}),
        await person.http.put(f"{where}/stable", json={"version": 1}),
    ]
    assert {each.status_code for each in answers} == {404}
    assert (await author.http.get(where)).json() == preset


async def test_a_public_preset_can_be_read_and_copied_and_not_changed(
    app: ServedApp, person: Person, join_app: Join
) -> None:
    author = await join_app(app)
    preset = await create(author, is_public=True)
    where = f"{PRESETS}/{preset['id']}"

    seen = (await person.http.get(where)).json()
    assert (seen["system_prompt"], seen["is_own"], seen["is_read_only"]) == ("Cite sources.", False, True)
    assert (await person.http.post(f"{where}/duplicate")).json()["origin_id"] == preset["id"]
    refused = [
        await person.http.patch(where, json={"name": "Mine"}),
        await person.http.delete(where),
        await person.http.get(f"{where}/versions"),
        await person.http.post(f"{where}/rollback", json={"version": 1}),
        await person.http.put(f"{where}/stable", json={"version": 1}),
    ]
    assert {each.status_code for each in refused} == {404}


async def test_the_gallery_shows_what_is_public_searched_and_page_by_page(
    app: ServedApp, person: Person, join_app: Join
) -> None:
    author, word = await join_app(app, plan=PlanTier.PREMIUM), secrets.token_hex(6)
    for number, name in enumerate(("Fiqh", "Sira", "Adab", "Tafsīr", "Hadith")):
        await create(author, slug=f"p{number}", name=f"{name} {word}", is_public=number != 2)
    await create(person, slug="own", name=f"Tafsir {word}")

    gallery = {"public": True, "q": word}
    first = (await person.http.get(PRESETS, params=gallery | {"limit": 3})).json()
    assert [each["slug"] for each in first["items"]] == ["p4", "p3", "p1"]
    rest = (await person.http.get(PRESETS, params=gallery | {"cursor": first["next_cursor"]})).json()
    assert ([each["slug"] for each in rest["items"]], rest["next_cursor"]) == (["p0"], None)
    found = (await person.http.get(PRESETS, params=gallery | {"q": f"tafsir {word}"})).json()["items"]
    assert [each["slug"] for each in found] == ["p3"]
    assert [each["slug"] for each in (await person.http.get(PRESETS)).json()["items"]] == ["own"]


async def test_who_publishes_has_a_handle_that_says_nothing_and_can_be_changed(
    app: ServedApp, person: Person, join_app: Join
) -> None:
    author = await join_app(app)
    preset = await create(author, is_public=True)
    given = (await author.http.get("/api/v1/auth/me")).json()["handle"]
    assert given
    assert given.startswith("u-")
    seen = (await person.http.get(f"{PRESETS}/{preset['id']}")).json()
    assert seen["address"] == f"@{given}/scholar"

    renamed = await author.http.patch("/api/v1/auth/me", json={"handle": "ibn-rushd"})
    assert (renamed.status_code, renamed.json()["handle"]) == (200, "ibn-rushd")
    assert (await person.http.get(f"{PRESETS}/{preset['id']}")).json()["address"] == "@ibn-rushd/scholar"
    taken = await person.http.patch("/api/v1/auth/me", json={"handle": "ibn-rushd"})
    assert (taken.status_code, taken.json()["error"]) == (409, "handle_taken")


@pytest.mark.parametrize("handle", ["me", "admin", "A", "-a", "a-", "a" * 41, "ü", None, ""])
async def test_a_handle_that_cannot_be_is_named(person: Person, handle: str | None) -> None:
    answer = await person.http.patch("/api/v1/auth/me", json={"handle": handle})
    assert answer.status_code == 422
    assert (await person.http.get("/api/v1/auth/me")).json()["handle"] is None


async def test_a_prompt_full_of_places_to_warn_of_is_read_in_a_moment(person: Person) -> None:
    started = time.perf_counter()
    preset = await create(person, system_prompt="{{a}}" * 20_000)
    assert time.perf_counter() - started < 2
    assert len(preset["warnings"]) == 50


@pytest.mark.parametrize("number", [2**31, 2**63, 10**30])
async def test_a_number_no_version_can_have_is_refused(person: Person, number: int) -> None:
    url = f"{PRESETS}/{(await create(person))['id']}"
    answers = [
        await person.http.get(f"{url}/diff", params={"from": number, "to": 1}),
        await person.http.post(f"{url}/rollback", json={"version": number}),
        await person.http.put(f"{url}/stable", json={"version": number}),
    ]
    assert [each.status_code for each in answers] == [422, 422, 422]


async def test_whose_model_is_gone_can_be_made_private(person: Person, app: ServedApp) -> None:
    preset = await create(person, is_public=True)
    async with app.services.database.unit_of_work() as uow:
        (await uow.presets.require_any(UUID(preset["id"]))).model = "nobody/gone"
        await uow.commit()
    assert (await change(person, preset, is_public=False)).json()["is_public"] is False
    assert (await change(person, preset, name="Other")).status_code == 422


async def test_nobody_takes_the_handle_another_account_will_be_given(
    person: Person, app: ServedApp, join_app: Join
) -> None:
    other = await join_app(app)
    given = f"u-{(await person.http.get('/api/v1/auth/me')).json()['id'][-12:]}"
    taken = await other.http.patch("/api/v1/auth/me", json={"handle": given})
    assert taken.status_code == 422
    preset = await create(person)
    assert (await change(person, preset, is_public=True)).status_code == 200
    assert (await person.http.patch("/api/v1/auth/me", json={"handle": given})).status_code == 200


async def test_what_a_closed_account_made_public_is_found_no_more(
    app: ServedApp, person: Person, join_app: Join
) -> None:
    author = await join_app(app)
    preset = await create(author, is_public=True)
    async with app.services.database.unit_of_work() as uow:
        owner = await uow.accounts.get((await uow.presets.require_any(UUID(preset["id"]))).user_id)
        assert owner is not None
        owner.is_active = False
        await uow.commit()
    assert (await person.http.get(f"{PRESETS}/{preset['id']}")).status_code == 404
    assert (await person.chat(await person.begin(), preset_id=preset["id"])).status_code == 404
