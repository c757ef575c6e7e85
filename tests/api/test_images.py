"""Having pictures made: by every route and model, what comes of failures, and what is charged."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select

from app.db.models import Blob, GeneratedImage, QuotaLease, UnbilledCall
from app.domain.plans import PlanTier
from app.domain.principal import Role
from app.services.ledger_service import LedgerService
from tests.conftest import Join, Serve
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import Person
from tests.support.clocks import MovedClock
from tests.support.images import FLUX, IMAGES, IN_CHATS, NANO, ask_for, draw, images_used, opened, prompt_in
from tests.support.ledger import ledger_lines, require_sound_books
from tests.support.operators import set_overrides
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio
DOCUMENTED = {
    "google/gemini-2.5-flash-image-preview": NANO,
    "openai/dall-e-3": "openai/gpt-5-image",
    "black-forest-labs/flux-pro": FLUX,
    "black-forest-labs/flux-schnell": "black-forest-labs/flux.2-klein-4b",
}


@pytest.fixture
async def person(app: ServedApp, join_app: Join) -> Person:
    """Somebody on the Premium plan."""
    return await join_app(app, plan=PlanTier.PREMIUM)


async def rows(app: ServedApp, person: Person, table: Any) -> list[Any]:
    async with app.services.database.read_only() as uow:
        return list((await uow._session.scalars(select(table).where(table.user_id == person.user_id))).all())


async def require_nothing_left(app: ServedApp, person: Person) -> None:
    """No picture, no held lease, no bytes that stay."""
    assert await rows(app, person, GeneratedImage) == []
    assert [each.state for each in await rows(app, person, QuotaLease) if each.state == "held"] == []
    assert [each for each in await rows(app, person, Blob) if each.state == "stored"] == []


class TestModels:
    @pytest.mark.parametrize("model", DOCUMENTED)
    async def test_a_documented_name_is_drawn_by_its_successor(
        self, app: ServedApp, person: Person, openrouter: EmulatorProcess, model: str
    ) -> None:
        answer = await ask_for(person, f"by {model}", model=model)

        assert answer.status_code == 200, answer.text
        [image] = answer.json()["images"]
        assert (image["model"], image["served_model"]) == (model, DOCUMENTED[model])
        assert DOCUMENTED[model] in answer.json()["notes"][0]
        content = await person.http.get(image["url"])
        assert content.headers["content-type"] == image["media_type"] == "image/png"
        assert prompt_in(content.content) == f"by {model}"
        assert opened(content.content).size == (image["width"], image["height"])
        await require_sound_books(app, openrouter, person)

    async def test_without_a_model_the_documented_request_works(self, person: Person) -> None:
        image = await draw(person, "A beautiful sunset over the desert", aspect_ratio="16:9", output_format="url")

        assert (image["served_model"], image["width"], image["height"]) == (NANO, 1344, 768)
        assert image["b64_json"] is None

    async def test_a_model_that_draws_in_chats_is_asked_there(
        self, serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        app = await serve_app(image_generation_models=IN_CHATS)
        await app.services.openrouter.refresh_catalog()
        person = await join_app(app, plan=PlanTier.PREMIUM)
        image = await draw(person, "in a chat", aspect_ratio="9:16")

        assert (image["served_model"], image["width"]) == (IN_CHATS, 768)
        assert prompt_in((await person.http.get(image["url"])).content) == "in a chat"
        [asked] = [each["body"] for each in openrouter.requests(path="/api/v1/chat/completions")]
        assert (asked["modalities"], asked["image_config"]) == (["image", "text"], {"aspect_ratio": "9:16"})
        await require_sound_books(app, openrouter, person)

    async def test_another_of_the_successors_draws_what_the_first_one_cannot(self, person: Person) -> None:
        image = await draw(person, model="openai/dall-e-3", aspect_ratio="16:9")
        assert image["served_model"] == "openai/gpt-image-2"

    async def test_only_models_that_the_server_names_draw(self, serve_app: Serve, join_app: Join) -> None:
        app = await serve_app(image_generation_models="black-forest-labs/flux-pro")
        person = await join_app(app, plan=PlanTier.PREMIUM)

        assert [each["id"] for each in (await person.http.get(f"{IMAGES}/models")).json()["items"]] == [FLUX]
        assert (await draw(person))["served_model"] == FLUX
        refused = await ask_for(person, model=NANO)
        assert (refused.status_code, refused.json()["allowed"]) == (422, [FLUX])
        assert refused.json()["fields"][0]["field"] == "model"

    async def test_a_server_may_let_all_of_them_draw(self, serve_app: Serve, join_app: Join) -> None:
        app = await serve_app(image_generation_models="*")
        person = await join_app(app, plan=PlanTier.PREMIUM)
        models = [each["id"] for each in (await person.http.get(f"{IMAGES}/models")).json()["items"]]

        assert {NANO, FLUX, IN_CHATS, "openai/gpt-image-2"} <= set(models)
        assert "openai/gpt-4o" not in models
        assert (await draw(person, model=IN_CHATS))["served_model"] == IN_CHATS
        assert (await draw(person))["served_model"] == models[0]

    async def test_each_model_tells_what_it_takes(self, person: Person) -> None:
        models = {each["id"]: each for each in (await person.http.get(f"{IMAGES}/models")).json()["items"]}

        assert next(iter(models)) == NANO
        assert "16:9" in models[NANO]["aspect_ratios"]
        assert models[NANO]["usd_per_million_tokens"] == 30
        assert models[FLUX]["formats"] == ["png", "jpeg"]
        assert models[FLUX]["replaces"] == ["black-forest-labs/flux-pro", "black-forest-labs/flux-1.1-pro"]


class TestRefusals:
    @pytest.mark.parametrize(
        ("body", "field", "allowed"),
        [
            ({"aspect_ratio": "9:20"}, "aspect_ratio", "16:9"),
            ({"model": FLUX, "image_format": "webp"}, "image_format", "jpeg"),
            ({"size": "1000x100"}, "size", "21:9"),
            ({"model": "openai/gpt-5-image", "quality": "max"}, "quality", "high"),
            ({"quality": "high"}, "quality", None),
            ({"seed": 7}, "seed", None),
        ],
    )
    async def test_what_a_model_does_not_take_is_refused_with_what_it_does(
        self, person: Person, openrouter: EmulatorProcess, body: dict[str, Any], field: str, allowed: str | None
    ) -> None:
        answer = await ask_for(person, **body)

        assert (answer.status_code, answer.json()["fields"][0]["field"]) == (422, field)
        assert allowed in answer.json()["allowed"] if allowed else answer.json()["allowed"] == []
        assert not openrouter.requests(path="/api/v1/images")
        assert await images_used(person) == 0

    async def test_the_free_plan_makes_none(self, app: ServedApp, join_app: Join) -> None:
        answer = await ask_for(await join_app(app))
        assert (answer.status_code, answer.json().get("error")) == (403, "feature_not_available")

    async def test_a_server_may_make_none_and_still_show_them(self, serve_app: Serve, join_app: Join) -> None:
        app = await serve_app()
        person = await join_app(app, plan=PlanTier.PREMIUM)
        image = await draw(person)
        closed = await serve_app(image_generation_enabled=False)
        async with closed.client(headers=person.http.headers) as http:
            for path in ("generate", f"{image['id']}/edit", f"{image['id']}/regenerate"):
                answer = await http.post(f"{IMAGES}/{path}", json={} if "regen" in path else {"prompt": "x"})
                assert (answer.status_code, answer.json().get("error")) == (503, "feature_disabled")
            assert [each["id"] for each in (await http.get(f"{IMAGES}/history")).json()["items"]] == [image["id"]]
            assert opened((await http.get(image["url"])).content)


class TestMoney:
    async def test_each_picture_is_counted_at_what_it_was_billed(
        self, app: ServedApp, person: Person, openrouter: EmulatorProcess
    ) -> None:
        image = await draw(person, model=FLUX)

        assert image["cost_usd"] == 0.03
        assert await images_used(person) == 1
        [line] = await ledger_lines(app, person)
        assert (line.kind, line.images, line.messages, line.cost_usd) == ("image", 1, 0, Decimal("0.03"))
        assert [each.state for each in await rows(app, person, QuotaLease)] == ["settled"]
        await require_sound_books(app, openrouter, person)

    @pytest.mark.parametrize(("model", "calls"), [("openai/gpt-5-image", 1), (NANO, 3)])
    async def test_several_pictures_come_of_as_many_calls_as_the_model_needs(
        self, app: ServedApp, person: Person, openrouter: EmulatorProcess, model: str, calls: int
    ) -> None:
        batch = (await ask_for(person, model=model, n=3)).json()

        assert (batch["requested"], len(batch["images"]), batch["error"]) == (3, 3, None)
        assert len(openrouter.requests(path="/api/v1/images")) == calls
        assert await images_used(person) == 3
        assert {each["request_id"] for each in batch["images"]} == {batch["request_id"]}
        await require_sound_books(app, openrouter, person)

    @pytest.mark.parametrize("fault", ["http_500", "no_image", "broken_image", "broken_json", "http_403"])
    async def test_a_failure_leaves_the_allowance_as_it_was(
        self, app: ServedApp, person: Person, openrouter: EmulatorProcess, fault: str
    ) -> None:
        openrouter.fault(fault, params={"variant": "moderation"} if fault == "http_403" else {})
        before = await person.usage()
        answer = await ask_for(person, model=FLUX)

        status, code = (400, "content_moderated") if fault == "http_403" else (502, "upstream_failed")
        assert (answer.status_code, answer.json().get("error")) == (status, code)
        assert await person.usage() == before
        await require_nothing_left(app, person)
        lost, to_come = await ledger_lines(app, person), await rows(app, person, UnbilledCall)
        assert {each.kind for each in (*lost, *to_come)} <= {"lost_attempt"}  # what was billed after all is the house's
        asked_for = openrouter.bill(*(each.generation_id for each in to_come))["total"] if to_come else 0
        known = sum((each.cost_usd or 0 for each in lost), Decimal(0))
        assert known + Decimal(asked_for) == Decimal(openrouter.bill()["total"])

    async def test_words_only_are_asked_again(
        self, app: ServedApp, person: Person, openrouter: EmulatorProcess
    ) -> None:
        openrouter.fault("no_image", times=1)
        assert (await draw(person))["served_model"] == NANO
        assert await images_used(person) == 1

    async def test_another_model_draws_where_the_first_one_fails(
        self, person: Person, openrouter: EmulatorProcess
    ) -> None:
        openrouter.fault("http_404", params={"variant": "no_endpoints"}, model=NANO)
        image = await draw(person, model=NANO, fallback_models=[FLUX])
        assert image["served_model"] == FLUX

    async def test_of_a_part_only_the_part_is_charged(
        self, app: ServedApp, person: Person, openrouter: EmulatorProcess
    ) -> None:
        openrouter.fault("http_400", times=1)
        batch = (await ask_for(person, model=NANO, n=3)).json()

        assert (len(batch["images"]), batch["error"]["error"]) == (2, "upstream_failed")
        assert await images_used(person) == 2
        await require_sound_books(app, openrouter, person)

    async def test_of_a_call_that_brought_less_the_house_pays_the_rest(
        self, app: ServedApp, person: Person, openrouter: EmulatorProcess
    ) -> None:
        openrouter.fault("fewer_images", params={"count": 1})
        batch = (await ask_for(person, model="openai/gpt-5-image", n=2)).json()

        assert (len(batch["images"]), await images_used(person)) == (1, 1)
        billed = Decimal(openrouter.bill()["total"])
        lines = {each.kind: each for each in await ledger_lines(app, person)}
        assert lines["image"].cost_usd == lines["lost_attempt"].cost_usd == billed / 2
        assert Decimal(str((await person.usage())["total_cost_usd"])) == billed / 2

    async def test_a_hundred_at_once_with_five_left_make_five(
        self, app: ServedApp, person: Person, openrouter: EmulatorProcess, join_app: Join
    ) -> None:
        await allow(app, join_app, person, 5)
        openrouter.configure(first_token_delay=0.2)
        answers = await asyncio.gather(*(ask_for(person, f"number {n}", model=FLUX) for n in range(100)))

        made = [each for each in answers if each.status_code == 200]
        assert len(made) == 5
        refusals = {(each.status_code, each.json()["detail"]) for each in answers if each.status_code != 200}
        assert refusals == {(400, "Monthly image limit reached (5)")}
        assert await images_used(person) == 5
        assert len(openrouter.requests(path="/api/v1/images")) == 5
        assert len((await person.http.get(f"{IMAGES}/history", params={"limit": 100})).json()["items"]) == 5
        await require_verified(app, person)

    async def test_more_than_are_left_are_refused_whole(self, app: ServedApp, person: Person, join_app: Join) -> None:
        await allow(app, join_app, person, 2)
        answer = await ask_for(person, n=3)
        assert (answer.status_code, answer.json()["meter"]) == (400, "images")
        assert (await ask_for(person, n=2)).status_code == 200

    async def test_a_bill_that_comes_late_is_charged_and_told(
        self, serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        clock = MovedClock()
        app = await serve_app(clock=clock, reconcile_interval_seconds=3600)
        person = await join_app(app, plan=PlanTier.PREMIUM)
        openrouter.fault("no_usage", times=1)
        image = await draw(person, model=FLUX)
        assert image["cost_usd"] is None

        clock.advance(6, openrouter)
        await app.services.reconciliation.run_once()

        assert (await person.http.get(f"{IMAGES}/{image['id']}")).json()["cost_usd"] == 0.03
        assert await images_used(person) == 1
        await require_sound_books(app, openrouter, person)


class TestRunning:
    async def test_nobody_holds_a_connection_while_a_model_draws(
        self, serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        app = await serve_app(database_pool_size=1)
        person = await join_app(app, plan=PlanTier.PREMIUM)
        openrouter.configure(first_token_delay=1.5)
        running = [asyncio.create_task(ask_for(person, f"number {n}", model=FLUX)) for n in range(3)]
        await until_asked(openrouter, 3)

        async with asyncio.timeout(1):
            assert (await person.http.get(f"{IMAGES}/history")).json()["items"] == []
            assert (await person.usage())["images"] | {"used": 0, "reserved": 3} == (await person.usage())["images"]
        assert {each.status_code for each in await asyncio.gather(*running)} == {200}

    async def test_it_takes_a_place_among_what_runs(
        self, serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        app = await serve_app(max_running_answers_per_user=1)
        person = await join_app(app, plan=PlanTier.PREMIUM)
        openrouter.configure(first_token_delay=0.5)
        first, second = await asyncio.gather(*(ask_for(person, model=FLUX) for _ in range(2)))

        assert sorted((first.status_code, second.status_code)) == [200, 429]
        assert (await ask_for(person, model=FLUX, aspect_ratio="9:20")).status_code == 422  # gives its place up, too
        assert (await ask_for(person, model=FLUX)).status_code == 200

    async def test_it_counts_against_the_rate_of_the_plan(self, serve_app: Serve, join_app: Join) -> None:
        app = await serve_app(rate_limits_enabled=True, api_requests_per_minute=1_000)
        person = await join_app(app, plan=PlanTier.PREMIUM)
        before = (await ask_for(person, aspect_ratio="9:20")).headers["RateLimit"]
        after = (await ask_for(person, aspect_ratio="9:20")).headers["RateLimit"]
        assert "model" in before
        assert before != after

    async def test_a_server_that_stops_gives_back_what_was_held(
        self, serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        app = await serve_app()
        person = await join_app(app, plan=PlanTier.PREMIUM)
        openrouter.configure(first_token_delay=20)
        asked = asyncio.create_task(ask_for(person, model=FLUX))
        await until_asked(openrouter, 1)
        await asyncio.sleep(0.3)
        await app.services.images.drain(0)

        assert ((await asked).status_code, (await asked).json()["error"]) == (503, "service_unavailable")
        await require_nothing_left(app, person)
        assert [each.state for each in await rows(app, person, QuotaLease)] == ["released"]
        [bill] = await rows(app, person, UnbilledCall)
        assert bill.kind == "lost_attempt"  # whatever it costs is the house's


async def until_asked(openrouter: EmulatorProcess, times: int) -> None:
    for _ in range(500):
        if len(openrouter.requests(path="/api/v1/images")) >= times:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"OpenRouter was not asked {times} times")


async def require_verified(app: ServedApp, person: Person) -> None:
    """What ``wisqu ledger verify`` says of this account; others in the database are there for other tests to spoil."""
    found = await LedgerService(settings=lambda: app.services.settings, database=app.services.database).verify()
    assert [each for each in found.differences if person.user_id in each.key] == []


async def allow(app: ServedApp, join_app: Join, person: Person, images: int) -> None:
    """Agree on so many pictures a month."""
    operator = await join_app(app, role=Role.ADMIN)
    answer = await set_overrides(operator, person, {"images_per_month": images})
    assert answer.status_code == 200, answer.text
