"""Writes the plans into the database. Run it as often as you like: only what changed is written, as a new version."""

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from app.core.config import ConfigurationError
from app.services.subscription_service import subscription_service


async def main() -> None:
    """Seed and say what was written."""
    try:
        written = await subscription_service.seed_plans()
    finally:
        await subscription_service.aclose()
    print(f"Plans written: {', '.join(written)}." if written else "All plans are up to date.")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except ConfigurationError as error:
        sys.exit(str(error))
