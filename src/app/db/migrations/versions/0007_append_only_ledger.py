"""The ledger is appended to only, its counts are never negative, and a day may hold more tokens than 2^31."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

NOT_NEGATIVE = (
    "messages >= 0 AND images >= 0 AND prompt_tokens >= 0 AND completion_tokens >= 0"
    " AND cached_tokens_read >= 0 AND cached_tokens_write >= 0"
)
DAILY_TOKENS = ("prompt_tokens", "completion_tokens", "cached_tokens_read", "cached_tokens_write")


def upgrade() -> None:
    with op.batch_alter_table("usage_events", schema=None) as batch_op:
        batch_op.create_check_constraint(batch_op.f("ck_usage_events_counts_not_negative"), NOT_NEGATIVE)
    with op.batch_alter_table("usage_daily", schema=None) as batch_op:
        for name in DAILY_TOKENS:
            batch_op.alter_column(name, existing_type=sa.Integer(), type_=sa.BigInteger(), existing_nullable=False)
    _forbid_changes()


def downgrade() -> None:
    _allow_changes()
    with op.batch_alter_table("usage_daily", schema=None) as batch_op:
        for name in DAILY_TOKENS:
            batch_op.alter_column(name, existing_type=sa.BigInteger(), type_=sa.Integer(), existing_nullable=False)
    with op.batch_alter_table("usage_events", schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f("ck_usage_events_counts_not_negative"), type_="check")


def _forbid_changes() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION refuse_ledger_change() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'usage_events is append-only'; END $$"
        )
        op.execute(
            "CREATE TRIGGER usage_events_append_only BEFORE UPDATE OR DELETE ON usage_events"
            " FOR EACH ROW EXECUTE FUNCTION refuse_ledger_change()"
        )
        return
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER usage_events_no_{verb.lower()} BEFORE {verb} ON usage_events"
            " BEGIN SELECT RAISE(ABORT, 'usage_events is append-only'); END"
        )


def _allow_changes() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP TRIGGER usage_events_append_only ON usage_events")
        op.execute("DROP FUNCTION refuse_ledger_change()")
        return
    for verb in ("update", "delete"):
        op.execute(f"DROP TRIGGER usage_events_no_{verb}")
