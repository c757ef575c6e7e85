"""What caching did in each call, why it missed, and discounts that are settled later than the bill."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.db.base import Money

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.add_column(sa.Column("cache_outcome", sa.String(length=20), nullable=True))
        batch_op.add_column(sa.Column("cache_detail", sa.String(length=100), nullable=True))
    with op.batch_alter_table("message_attempts", schema=None) as batch_op:
        batch_op.add_column(sa.Column("cache_breakpoint_count", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("cache_outcome", sa.String(length=20), nullable=True))
        batch_op.add_column(sa.Column("cache_detail", sa.String(length=100), nullable=True))
        batch_op.add_column(sa.Column("cache_prefix", sa.LargeBinary(), nullable=True))
    with op.batch_alter_table("unbilled_calls", schema=None) as batch_op:
        batch_op.add_column(sa.Column("cache_discount_usd", Money(), nullable=True))


def downgrade() -> None:
    # The older version would charge a call again whose discount alone is still to come.
    op.execute("DELETE FROM unbilled_calls WHERE kind = 'late_discount'")
    with op.batch_alter_table("unbilled_calls", schema=None) as batch_op:
        batch_op.drop_column("cache_discount_usd")
    with op.batch_alter_table("message_attempts", schema=None) as batch_op:
        for name in ("cache_prefix", "cache_detail", "cache_outcome", "cache_breakpoint_count"):
            batch_op.drop_column(name)
    with op.batch_alter_table("messages", schema=None) as batch_op:
        for name in ("cache_detail", "cache_outcome"):
            batch_op.drop_column(name)
