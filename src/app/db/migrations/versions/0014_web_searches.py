"""How often an answer searched the web, and what that cost."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.db.base import Money

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.add_column(sa.Column("web_search_requests", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("web_search_cost_usd", Money(), nullable=True))
    with op.batch_alter_table("usage_events", schema=None) as batch_op:
        batch_op.add_column(sa.Column("searches", sa.Integer(), server_default="0", nullable=False))


def downgrade() -> None:
    # Not by a batch: SQLite would make the ledger anew, without the triggers that protect it.
    op.drop_column("usage_events", "searches")
    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.drop_column("web_search_cost_usd")
        batch_op.drop_column("web_search_requests")
