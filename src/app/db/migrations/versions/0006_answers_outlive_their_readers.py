"""What a reader who comes late is told: events counted, sources kept, partial text of failed calls."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")


def upgrade() -> None:
    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.add_column(sa.Column("event_count", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("citations", JSON, nullable=True))
    with op.batch_alter_table("message_attempts", schema=None) as batch_op:
        batch_op.add_column(sa.Column("partial_content", sa.Text(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("message_attempts", schema=None) as batch_op:
        batch_op.drop_column("partial_content")
    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.drop_column("citations")
        batch_op.drop_column("event_count")
