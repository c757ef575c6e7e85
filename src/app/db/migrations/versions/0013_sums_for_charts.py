"""How answers ended, and the sums that charts read. `wisqu ledger rebuild` fills them for what is there already."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

from app.db.base import Money, UTCDateTime

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

UNFOLDED = sa.text("shard < 16")
ANSWERS = (
    "conversations",
    "answers",
    "failed",
    "stopped",
    "truncated",
    "fallbacks",
    "schema_answers",
    "schema_failures",
)


def upgrade() -> None:
    op.create_table(
        "answer_facts",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("ended_at", UTCDateTime(), nullable=False),
        sa.Column("plan", sa.String(length=20), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("error_code", sa.String(length=60), nullable=True),
        sa.Column("begins_conversation", sa.Boolean(), nullable=False),
        sa.Column("is_truncated", sa.Boolean(), nullable=False),
        sa.Column("fallback_used", sa.Boolean(), nullable=False),
        sa.Column("schema_passed", sa.Boolean(), nullable=True),
        sa.Column("cache_outcome", sa.String(length=20), nullable=True),
        sa.Column("preset_id", sa.Uuid(), nullable=True),
        sa.Column("first_token_ms", sa.Integer(), nullable=True),
        sa.Column("latency_ms", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("user_id", "id", name=op.f("pk_answer_facts")),
    )
    op.create_table(
        "usage_monthly",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("plan", sa.String(length=20), nullable=False),
        sa.Column("active_days", sa.Integer(), nullable=False),
        *_usage(sa.Integer()),
        sa.PrimaryKeyConstraint("user_id", "month", "plan", name=op.f("pk_usage_monthly")),
    )
    op.create_index(op.f("ix_usage_monthly_month"), "usage_monthly", ["month"])
    op.create_table(
        "system_usage",
        sa.Column("slot", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("shard", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("plan", sa.String(length=20), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        *_usage(sa.BigInteger()),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ANSWERS),
        sa.PrimaryKeyConstraint("slot", "shard", "plan", "model", "kind", name=op.f("pk_system_usage")),
    )
    op.create_table(
        "answer_tallies",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("shard", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("plan", sa.String(length=20), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("measure", sa.String(length=20), nullable=False),
        sa.Column("value", sa.String(length=60), nullable=False),
        sa.Column("answers", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("day", "shard", "plan", "model", "measure", "value", name=op.f("pk_answer_tallies")),
    )
    for table, column in (("system_usage", "slot"), ("answer_tallies", "day")):
        op.create_index(op.f(f"ix_{table}_{column}"), table, [column], postgresql_where=UNFOLDED, sqlite_where=UNFOLDED)
    _forbid_changes()


def downgrade() -> None:
    for table in ("answer_tallies", "system_usage", "usage_monthly", "answer_facts"):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_fact_change()")


def _usage(count: sa.types.TypeEngine[int]) -> list[sa.Column[Any]]:
    counts: list[sa.Column[Any]]
    counts = [sa.Column(name, count, nullable=False) for name in ("requests", "messages", "images")]
    tokens = ("prompt_tokens", "completion_tokens", "cached_tokens_read", "cached_tokens_write")
    return [
        *counts,
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in tokens),
        *(sa.Column(name, Money(), nullable=False) for name in ("cost_usd", "cache_discount_usd")),
    ]


def _forbid_changes() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION refuse_fact_change() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'answer_facts is append-only'; END $$"
        )
        op.execute(
            "CREATE TRIGGER answer_facts_append_only BEFORE UPDATE OR DELETE ON answer_facts"
            " FOR EACH ROW EXECUTE FUNCTION refuse_fact_change()"
        )
        return
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER answer_facts_no_{verb.lower()} BEFORE {verb} ON answer_facts"
            " BEGIN SELECT RAISE(ABORT, 'answer_facts is append-only'); END"
        )
