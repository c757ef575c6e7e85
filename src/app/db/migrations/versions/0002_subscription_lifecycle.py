"""Scheduled and requested changes of plan, overrides for single customers, and the audit log."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from app.db.base import UTCDateTime

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

PLAN = sa.Enum("free", "premium", "unlimited", "enterprise", name="plantier", native_enum=False, length=20)
JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")

OLD_STATUS = "status IN ('active', 'cancelling')"
NEW_STATUS = "status IN ('active', 'changing', 'cancelling')"
NEXT_WHOLE = (
    "(next_plan IS NULL) = (next_plan_at IS NULL) AND (next_plan_version IS NULL) = (next_plan_at IS NULL)"
    " AND (status = 'active') = (next_plan_at IS NULL)"
)
REQUESTED_WHOLE = (
    "(requested_plan IS NULL) = (requested_at IS NULL) AND (requested_plan_version IS NULL) = (requested_at IS NULL)"
)


def upgrade() -> None:
    with op.batch_alter_table("subscriptions", schema=None) as batch_op:
        for prefix, instant in (("next_plan", "next_plan_at"), ("requested_plan", "requested_at")):
            batch_op.add_column(sa.Column(prefix, PLAN, nullable=True))
            batch_op.add_column(sa.Column(f"{prefix}_version", sa.Integer(), nullable=True))
            batch_op.add_column(sa.Column(instant, UTCDateTime(), nullable=True))
            batch_op.create_foreign_key(
                batch_op.f(f"fk_subscriptions_{prefix}_plan_limits"),
                "plan_limits",
                [prefix, f"{prefix}_version"],
                ["plan", "version"],
            )
        batch_op.drop_constraint(batch_op.f("ck_subscriptions_status"), type_="check")
        batch_op.create_check_constraint(batch_op.f("ck_subscriptions_status"), NEW_STATUS)
        batch_op.create_check_constraint(batch_op.f("ck_subscriptions_next_plan_whole"), NEXT_WHOLE)
        batch_op.create_check_constraint(batch_op.f("ck_subscriptions_requested_plan_whole"), REQUESTED_WHOLE)

    op.create_table(
        "plan_overrides",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("value", JSON, nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("expires_at", UTCDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_plan_overrides_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "name", name=op.f("pk_plan_overrides")),
    )
    op.create_table(
        "audit_log",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("actor", sa.String(length=20), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("action", sa.String(length=60), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("before", JSON, nullable=True),
        sa.Column("after", JSON, nullable=True),
        sa.Column("reason", sa.String(length=500), nullable=True),
        sa.Column("request_id", sa.String(length=128), nullable=True),
        sa.CheckConstraint("actor IN ('user', 'operator', 'cli', 'payment')", name=op.f("ck_audit_log_actor")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    with op.batch_alter_table("audit_log", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_audit_log_user_id_id"), ["user_id", "id"], unique=False)
    _forbid_changes_of_the_audit_log()


def downgrade() -> None:
    op.drop_table("audit_log")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_audit_change()")
    op.drop_table("plan_overrides")

    # The older version knows no scheduled changes: those that are due are in force, the others are forgotten.
    op.execute(
        "UPDATE subscriptions SET plan = next_plan, plan_version = next_plan_version"
        " WHERE next_plan_at <= CURRENT_TIMESTAMP"
    )
    op.execute(
        "UPDATE subscriptions SET status = 'active', cancel_at = NULL,"
        " next_plan = NULL, next_plan_version = NULL, next_plan_at = NULL"
    )
    with op.batch_alter_table("subscriptions", schema=None) as batch_op:
        for name in ("requested_plan_whole", "next_plan_whole", "status"):
            batch_op.drop_constraint(batch_op.f(f"ck_subscriptions_{name}"), type_="check")
        batch_op.create_check_constraint(batch_op.f("ck_subscriptions_status"), OLD_STATUS)
        for prefix, instant in (("requested_plan", "requested_at"), ("next_plan", "next_plan_at")):
            batch_op.drop_constraint(batch_op.f(f"fk_subscriptions_{prefix}_plan_limits"), type_="foreignkey")
            for column in (instant, f"{prefix}_version", prefix):
                batch_op.drop_column(column)


def _forbid_changes_of_the_audit_log() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'audit_log is append-only'; END $$"
        )
        op.execute(
            "CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE ON audit_log"
            " FOR EACH ROW EXECUTE FUNCTION refuse_audit_change()"
        )
        return
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER audit_log_no_{verb.lower()} BEFORE {verb} ON audit_log"
            " BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END"
        )
