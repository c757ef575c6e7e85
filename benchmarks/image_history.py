"""A page of 50 among 10,000 pictures of one account, on both databases: `python benchmarks/image_history.py`.

The first page, one in the middle, and one that looks for a word in the prompts; how long each takes and how many
statements it runs. PostgreSQL is the one named by TEST_DATABASE_URL, else one from the wheel.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[1] / "src")]

from sqlalchemy import insert

from app.core.clock import utc_now
from app.core.ids import new_id
from app.db.models import Blob, GeneratedImage
from app.domain.plans import PlanTier
from app.services.assembly import Services
from tests.support.databases import PostgresTemplates, SQLiteTemplates, find_postgres
from tests.support.served import make_settings
from tests.support.statements import counted_statements

PICTURES = 10_000
PAGES = 200


@dataclass(frozen=True)
class Measured:
    """What the counter of statements wants to know of an app."""

    services: Services


async def fill(services: Services) -> tuple[UUID, list[UUID]]:
    """An account with its pictures; their ids, oldest first."""
    user = await services.auth.register(email="x@example.com", password="long enough", plan=PlanTier.ENTERPRISE)
    now, ids = utc_now(), [new_id() for _ in range(PICTURES)]
    async with services.database.unit_of_work() as uow:
        blob = Blob(
            user_id=user.id,
            id=new_id(),
            sha256="0" * 64,
            size_bytes=1,
            storage="database",
            state="stored",
            changed_at=now,
        )
        uow.blobs.add(blob)
        await uow._session.flush()
        rows = [_row(user.id, blob.id, id_, number) for number, id_ in enumerate(ids)]
        for start in range(0, PICTURES, 500):
            await uow._session.execute(insert(GeneratedImage), rows[start : start + 500])
        await uow.commit()
    return user.id, ids


def _row(user_id: UUID, blob_id: UUID, id_: UUID, number: int) -> dict[str, Any]:
    nothing = ("parent_id", "reference_id", "provider", "size", "quality", "background", "image_format", "seed")
    return dict.fromkeys(nothing) | {
        "user_id": user_id,
        "id": id_,
        "request_id": id_,
        "operation": "generate",
        "prompt": f"A mosque at dawn, painted in the manner of a miniature, number {number} of many",
        "model": "google/gemini-2.5-flash-image",
        "served_model": "google/gemini-2.5-flash-image",
        "aspect_ratio": "1:1",
        "width": 1024,
        "height": 1024,
        "media_type": "image/png",
        "size_bytes": 1,
        "sha256": "0" * 64,
        "blob_id": blob_id,
        "thumbnail_blob_id": blob_id,
        "thumbnail_size_bytes": 1,
        "thumbnail_sha256": "0" * 64,
        "generation_id": None,
        "cost_usd": None,
        "created_at": utc_now(),
    }


async def measure(name: str, services: Services) -> None:
    """Print a row for each kind of page."""
    user_id, ids = await fill(services)
    kinds: dict[str, dict[str, Any]] = {
        "first": {},
        "middle": {"cursor": str(ids[PICTURES // 2])},
        "by a word": {"text": "number 77"},
        "by a word none has": {"text": "nowhere"},
    }
    for kind, wanted in kinds.items():
        times = []
        with counted_statements(Measured(services)) as statements:  # type: ignore[arg-type]
            for _ in range(PAGES):
                started = time.perf_counter()
                await services.images.history(user_id, limit=50, **wanted)
                times.append((time.perf_counter() - started) * 1000)
        times.sort()
        p99 = times[int(len(times) * 0.99)]
        print(
            f"{name:<11} {kind:<19} {len(statements) / PAGES:>10.1f} {statistics.median(times):>8.1f} {p99:>8.1f}",
            flush=True,
        )
    await services.aclose()


async def main() -> None:
    """Print the table."""
    print(f"a page of 50 among {PICTURES} pictures; times in ms")
    print(f"{'database':<11} {'page':<19} {'statements':>10} {'p50':>8} {'p99':>8}")
    with tempfile.TemporaryDirectory() as folder:
        sqlite, postgres = SQLiteTemplates(Path(folder)), PostgresTemplates(find_postgres(f"bench-{os.getpid()}"))
        for name, templates in (("SQLite", sqlite), ("PostgreSQL", postgres)):
            url = await templates.make()
            settings = make_settings(
                database_url=url, data_dir=Path(folder), openrouter_url="http://127.0.0.1:9/api/v1"
            )
            await measure(name, Services.build(settings))
            await templates.drop(url)


if __name__ == "__main__":
    asyncio.run(main())
