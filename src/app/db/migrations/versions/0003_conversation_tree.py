"""Conversations become trees: questions follow answers, the active branch is stored, one answer runs per question."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

PENDING = sa.text("status = 'pending'")

# Turns follow each other in the order in which they were asked. Two that overlapped stand one behind the other, so that
# nothing disappears from the branch that is shown.
CHAIN_QUESTIONS = """
    UPDATE messages SET parent_id = (
        SELECT answer.id FROM messages AS question
        JOIN messages AS answer ON answer.user_id = question.user_id AND answer.parent_id = question.id
        WHERE question.user_id = messages.user_id AND question.conversation_id = messages.conversation_id
            AND question.role = 'user' AND question.id < messages.id
        ORDER BY question.id DESC, answer.id DESC LIMIT 1
    ) WHERE role = 'user' AND parent_id IS NULL
"""
LAST_ANSWER = """
    UPDATE conversations SET active_message_id = (
        SELECT answer.id FROM messages AS question
        JOIN messages AS answer ON answer.user_id = question.user_id AND answer.parent_id = question.id
        WHERE question.user_id = conversations.user_id AND question.conversation_id = conversations.id
            AND question.role = 'user'
        ORDER BY question.id DESC, answer.id DESC LIMIT 1
    )
"""
UNCHAIN_QUESTIONS = "UPDATE messages SET parent_id = NULL WHERE role = 'user'"


def upgrade() -> None:
    with op.batch_alter_table("conversations", schema=None) as batch_op:
        batch_op.add_column(sa.Column("active_message_id", sa.Uuid(), nullable=True))
    # For the time of the backfill: an answer is looked for by its question.
    op.create_index("ix_messages_backfill", "messages", ["user_id", "parent_id"])
    op.execute(CHAIN_QUESTIONS)
    op.execute(LAST_ANSWER)
    op.drop_index("ix_messages_backfill", "messages")
    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_messages_user_id_parent_id"),
            ["user_id", "parent_id"],
            unique=True,
            postgresql_where=PENDING,
            sqlite_where=PENDING,
        )


def downgrade() -> None:
    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_messages_user_id_parent_id"))
    # The older version tells the order by the ids alone, and shows all branches one after the other.
    op.execute(UNCHAIN_QUESTIONS)
    with op.batch_alter_table("conversations", schema=None) as batch_op:
        batch_op.drop_column("active_message_id")
