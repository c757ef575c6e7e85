"""Presets: create, list, duplicate, within the plan's number, on both databases."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app.core.errors import InvalidField, NotFound, QuotaExceeded
from app.db.models import ModelPreset
from app.domain.plans import PlanTier
from app.services.assembly import Services
from app.services.presets_service import SlugTaken
from tests.support.served import make_settings

pytestmark = pytest.mark.anyio


class Bench:
    """The presets service and accounts to use it."""

    def __init__(self, database_url: str, folder: Path) -> None:
        settings = make_settings(database_url=database_url, data_dir=folder, openrouter_url="http://127.0.0.1:9/api/v1")
        self.services = Services.build(settings)
        self.presets = self.services.presets
        self._people = 0

    async def join(self, plan: PlanTier = PlanTier.FREE) -> UUID:
        self._people += 1
        user = await self.services.auth.register(
            email=f"p{self._people}@example.com", password="long enough", plan=plan
        )
        return user.id

    async def create(self, owner: UUID, slug: str = "scholar", **changes: Any) -> ModelPreset:
        values = {"name": "Scholar", "slug": slug, "model": "openai/gpt-4o", "system_prompt": "Cite sources."}
        return await self.presets.create(owner, **(values | changes))


@pytest.fixture
async def bench(database_url: str, tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(database_url, tmp_path)
    yield bench
    await bench.services.aclose()


async def test_a_created_preset_is_listed_newest_first(bench: Bench) -> None:
    owner = await bench.join()
    await bench.create(owner, "first")
    await bench.create(owner, "second", temperature=0.9, top_p=0.95, max_tokens=4096)

    listed = await bench.presets.list_own(owner)
    assert [each.slug for each in listed] == ["second", "first"]
    assert (listed[0].temperature, listed[0].top_p, listed[0].max_tokens) == (0.9, 0.95, 4096)


async def test_presets_are_seen_by_their_owner_alone(bench: Bench) -> None:
    await bench.create(await bench.join())

    assert await bench.presets.list_own(await bench.join()) == []


async def test_a_slug_is_taken_once_by_each_owner(bench: Bench) -> None:
    one, other = await bench.join(), await bench.join()
    await bench.create(one)

    with pytest.raises(SlugTaken, match="'scholar'"):
        await bench.create(one)
    assert (await bench.create(other)).slug == "scholar"


async def test_a_model_nobody_offers_is_refused(bench: Bench) -> None:
    with pytest.raises(InvalidField, match="model"):
        await bench.create(await bench.join(), model="nobody/knows-it")


async def test_the_plan_bounds_the_number_exactly_however_many_race(bench: Bench) -> None:
    owner = await bench.join(PlanTier.FREE)
    await bench.create(owner, "a")
    await bench.create(owner, "b")

    outcomes = await asyncio.gather(*(bench.create(owner, f"c{n}") for n in range(20)), return_exceptions=True)

    assert sum(isinstance(each, ModelPreset) for each in outcomes) == 1
    refusals = [each for each in outcomes if isinstance(each, QuotaExceeded)]
    assert len(refusals) == 19
    assert refusals[0].detail == "Preset limit reached (3)"


async def test_a_duplicate_is_a_private_copy_that_knows_its_origin(bench: Bench) -> None:
    owner = await bench.join()
    source = await bench.create(owner, is_public=True, temperature=0.4)

    copy = await bench.presets.duplicate(owner, source.id)

    assert (copy.slug, copy.is_public, copy.temperature) == ("scholar-copy", False, 0.4)
    assert (copy.origin_user_id, copy.origin_id) == (owner, source.id)
    assert (await bench.presets.duplicate(owner, source.id)).slug == "scholar-copy-2"


async def test_somebody_elses_preset_can_be_duplicated_only_if_it_is_public(bench: Bench) -> None:
    author, reader = await bench.join(), await bench.join()
    public = await bench.create(author, "public", is_public=True)
    private = await bench.create(author, "private")

    assert (await bench.presets.duplicate(reader, public.id)).slug == "public"
    with pytest.raises(NotFound):
        await bench.presets.duplicate(reader, private.id)
