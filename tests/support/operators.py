"""Operators at work, and time that passes."""

from datetime import UTC, datetime
from typing import Any

import httpx2

from tests.support.accounts import PASSWORD, Person

ADMIN = "/api/v1/admin"
SUBSCRIPTIONS = "/api/v1/subscriptions"


class Clock:
    """Tells the time it was given; begins now."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


async def log_in_again(person: Person) -> None:
    """A fresh access token, after time has passed."""
    form = {"username": person.email, "password": PASSWORD}
    tokens = (await person.http.post("/api/v1/auth/login", data=form)).json()
    person.http.headers["Authorization"] = f"Bearer {tokens['access_token']}"


async def set_plan(operator: Person, person: Person, plan: str, **body: Any) -> httpx2.Response:
    """Put somebody on a plan at once."""
    return await operator.http.put(
        f"{ADMIN}/users/{person.user_id}/subscription", json={"plan": plan, "reason": "paid by invoice", **body}
    )


async def set_overrides(operator: Person, person: Person, limits: dict[str, Any], **body: Any) -> httpx2.Response:
    """Agree on limits with somebody."""
    return await operator.http.put(
        f"{ADMIN}/users/{person.user_id}/overrides", json={"limits": limits, "reason": "contract 12", **body}
    )


async def read_audit(operator: Person, person: Person) -> list[dict[str, Any]]:
    """What the audit log tells of somebody, oldest first."""
    answer = await operator.http.get(f"{ADMIN}/audit", params={"user_id": str(person.user_id), "limit": 100})
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items[::-1]
