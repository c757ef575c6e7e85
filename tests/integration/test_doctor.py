"""`DoctorService` against real databases and the emulator: what is wrong is found, and only that."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from app.core.config import ConfigurationError, Settings
from app.db.database import Database
from app.services.blob_keeper import BlobKeeper
from app.services.doctor_service import DoctorService, Finding
from app.services.openrouter_service import OpenRouterService
from tests.emulator.process import EmulatorProcess
from tests.support.s3 import KEY, SECRET, S3Server
from tests.support.served import make_settings

pytestmark = pytest.mark.anyio

LIVING = {
    "llm_model": "anthropic/claude-sonnet-5.5",
    "default_fallback_models": ("openai/gpt-4o",),
    "image_generation_models": ("google/gemini-2.5-flash-image",),
}
Examine = Callable[..., Any]


async def report(settings: Callable[[], Settings], url: str) -> list[Finding]:
    database = Database(lambda: url)
    doctor = DoctorService(
        settings=settings,
        database=database,
        openrouter=OpenRouterService(settings=settings),
        blobs=BlobKeeper(settings=settings, database=database),
    )
    try:
        return [finding async for finding in doctor.examine()]
    finally:
        await doctor.aclose()


@pytest.fixture
async def examine(database_url: str, tmp_path: Path, openrouter: EmulatorProcess) -> Examine:
    async def run(*, url: str = database_url, **changes: Any) -> dict[str, Finding]:
        settings = make_settings(
            **{"database_url": url, "data_dir": tmp_path, "openrouter_url": openrouter.base_url, **LIVING, **changes}
        )
        return {each.subject: each for each in await report(lambda: settings, url)}

    return run


async def test_a_healthy_installation_has_nothing_but_good_news(examine: Examine) -> None:
    findings = await examine()

    assert {each.level for each in findings.values()} == {"ok"}
    assert list(findings) == [
        "settings",
        "database",
        "plans",
        "openrouter",
        "key",
        "credits",
        "LLM_MODEL",
        "LLM_FREE_MODEL",
        "LLM_TITLE_MODEL",
        "DEFAULT_FALLBACK_MODELS",
        "IMAGE_GENERATION_MODELS",
    ]


async def test_wrong_settings_are_all_it_says(database_url: str) -> None:
    def broken() -> Settings:
        raise ConfigurationError("Wrong settings:\n  - JWT_SECRET: needs at least 32 bytes")

    (finding,) = await report(broken, database_url)

    assert finding.level == "problem"
    assert "JWT_SECRET: needs at least 32 bytes" in finding.text


async def test_a_database_without_tables_wants_to_be_migrated(examine: Examine, empty_database_url: str) -> None:
    finding = (await examine(url=empty_database_url))["database"]

    assert (finding.level, finding.advice) == ("problem", "Run `wisqu migrate`.")


async def test_a_database_without_plans_wants_to_be_seeded(
    examine: Examine, database: Database, database_url: str
) -> None:
    async with database.engine.begin() as connection:
        await connection.exec_driver_sql("DELETE FROM plan_limits")
    finding = (await examine())["plans"]

    assert (finding.level, finding.advice) == ("problem", "Run `wisqu seed`.")


async def test_a_database_that_is_away_is_no_stack_trace(examine: Examine) -> None:
    findings = await examine(url="postgresql+asyncpg://nobody:secret@127.0.0.1:9/none")

    assert findings["database"].level == "problem"
    assert "secret" not in str(findings)
    assert "plans" not in findings


async def test_without_a_key_nothing_is_asked(examine: Examine, openrouter: EmulatorProcess) -> None:
    findings = await examine(openrouter_api_key="")

    assert findings["openrouter"].level == "problem"
    assert "key" not in findings
    assert openrouter.requests() == []


async def test_an_openrouter_that_is_away_is_named_with_its_address(examine: Examine) -> None:
    finding = (await examine(openrouter_url="http://127.0.0.1:9/api/v1"))["openrouter"]

    assert finding.level == "problem"
    assert "http://127.0.0.1:9/api/v1" in finding.text


async def test_a_wrong_key_is_a_problem(examine: Examine, openrouter: EmulatorProcess) -> None:
    openrouter.configure(api_keys=["sk-or-v1-another"])

    assert (await examine())["key"].level == "problem"


@pytest.mark.parametrize(("limit", "level"), [("0", "problem"), ("50", "ok")])
async def test_a_key_tells_what_is_left_of_its_limit(
    examine: Examine, openrouter: EmulatorProcess, limit: str, level: str
) -> None:
    openrouter.configure(key_limit=limit)
    finding = (await examine())["key"]

    assert finding.level == level
    assert f"{float(limit):.2f} USD" in finding.text


@pytest.mark.parametrize(("credits", "level"), [("0", "problem"), ("4.99", "warning"), ("5", "ok")])
async def test_credits_that_run_out_are_told_in_time(
    examine: Examine, openrouter: EmulatorProcess, credits: str, level: str
) -> None:
    openrouter.configure(total_credits=credits)

    assert (await examine())["credits"].level == level


@pytest.mark.parametrize("status", [401, 403])
async def test_credits_that_only_management_keys_may_see_are_no_problem(
    examine: Examine, openrouter: EmulatorProcess, status: int
) -> None:
    variant = {"variant": "guardrail"} if status == 403 else {}
    openrouter.fault(f"http_{status}", match={"path": "/credits"}, params=variant)

    assert (await examine())["credits"].level == "ok"


async def test_retired_models_are_named_with_their_successor(examine: Examine) -> None:
    finding = (await examine(llm_model="anthropic/claude-3.5-sonnet"))["LLM_MODEL"]

    assert finding.level == "warning"
    assert finding.advice == "Name 'anthropic/claude-sonnet-5.5' in LLM_MODEL."


@pytest.mark.parametrize(
    "setting",
    ["llm_model", "llm_free_model", "llm_title_model", "default_fallback_models", "image_generation_models"],
)
async def test_models_that_nobody_offers_are_problems(examine: Examine, setting: str) -> None:
    assert (await examine(**{setting: "nobody/nothing"}))[setting.upper()].level == "problem"


async def test_all_image_models_at_once_are_fine(examine: Examine) -> None:
    assert (await examine(image_generation_models="*"))["IMAGE_GENERATION_MODELS"].level == "ok"


async def test_a_model_that_cannot_draw_is_no_image_model(examine: Examine) -> None:
    finding = (await examine(image_generation_models="openai/gpt-4o"))["IMAGE_GENERATION_MODELS"]

    assert (finding.level, finding.text) == ("problem", "'openai/gpt-4o' makes no images")


async def test_a_store_of_files_is_tried(examine: Examine, s3_server: S3Server, tmp_path: Path) -> None:
    s3_server.make_bucket(bucket := f"doctor-{uuid4().hex}")
    place = {
        "image_s3_bucket": bucket,
        "image_s3_endpoint": s3_server.url,
        "image_s3_access_key_id": KEY,
        "image_s3_secret_access_key": SECRET,
    }
    (tmp_path / "a file").touch()

    levels = {
        "bucket": (await examine(image_storage_type="s3", **place))["files"],
        "no bucket": (await examine(image_storage_type="s3", **place | {"image_s3_bucket": "nowhere"}))["files"],
        "folder": (await examine(image_storage_type="local"))["files"],
        "no folder": (await examine(image_storage_type="local", image_storage_path=tmp_path / "a file"))["files"],
    }

    told = {name: each.level for name, each in levels.items()}
    assert told == {"bucket": "ok", "no bucket": "problem", "folder": "ok", "no folder": "problem"}
    assert "IMAGE_S3_" in levels["no bucket"].advice
    assert "IMAGE_STORAGE_PATH" in levels["no folder"].advice
    assert s3_server.list_keys(bucket) == []
    assert [each for each in (tmp_path / "blobs").rglob("*") if each.is_file()] == []
