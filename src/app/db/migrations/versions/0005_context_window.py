"""What a branch is long, summaries of its beginning, and the notes of an answer."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")
OLD_ROLES = "role IN ('user', 'assistant')"
NEW_ROLES = "role IN ('user', 'assistant', 'summary')"

# From each beginning down all branches. Lengths are guessed as the app does for most scripts, on the high side.
MEASURE = """
    WITH RECURSIVE walk AS (
        SELECT user_id, id, length(content) AS letters, 0 AS depth, 0 AS tokens_before
        FROM messages WHERE parent_id IS NULL
        UNION ALL
        SELECT child.user_id, child.id, length(child.content), walk.depth + 1,
            walk.tokens_before + walk.letters * 10 / 26 + 7
        FROM walk JOIN messages AS child ON child.user_id = walk.user_id AND child.parent_id = walk.id
    )
    UPDATE messages SET depth = walk.depth, tokens_before = walk.tokens_before
    FROM walk WHERE messages.user_id = walk.user_id AND messages.id = walk.id
"""


def upgrade() -> None:
    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.add_column(sa.Column("depth", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("tokens_before", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("summary_id", sa.Uuid(), nullable=True))
        batch_op.add_column(sa.Column("notes", JSON, server_default="[]", nullable=False))
        batch_op.drop_constraint(batch_op.f("ck_messages_role"), type_="check")
        batch_op.create_check_constraint(batch_op.f("ck_messages_role"), NEW_ROLES)
    op.create_index("ix_messages_backfill", "messages", ["user_id", "parent_id"])
    op.execute(MEASURE)
    op.drop_index("ix_messages_backfill", "messages")


def downgrade() -> None:
    op.execute("DELETE FROM messages WHERE role = 'summary'")
    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f("ck_messages_role"), type_="check")
        batch_op.create_check_constraint(batch_op.f("ck_messages_role"), OLD_ROLES)
        for column in ("notes", "summary_id", "tokens_before", "depth"):
            batch_op.drop_column(column)
