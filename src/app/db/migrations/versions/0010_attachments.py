"""Files beside questions, and the bytes they are made of."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.db.base import UTCDateTime

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

STORED = sa.text("state = 'stored'")
UNSENT = sa.text("sent_at IS NULL")


def upgrade() -> None:
    op.create_table(
        "blobs",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("storage", sa.String(length=20), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("changed_at", UTCDateTime(), nullable=False),
        sa.CheckConstraint("state IN ('arriving', 'stored', 'leaving')", name=op.f("ck_blobs_state")),
        sa.CheckConstraint("storage IN ('database', 'local', 's3')", name=op.f("ck_blobs_storage")),
        sa.CheckConstraint("size_bytes >= 0", name=op.f("ck_blobs_size_not_negative")),
        sa.PrimaryKeyConstraint("user_id", "id", name=op.f("pk_blobs")),
    )
    op.create_index(op.f("ix_blobs_state_changed_at"), "blobs", ["state", "changed_at"])
    op.create_index(
        op.f("ix_blobs_user_id_sha256"),
        "blobs",
        ["user_id", "sha256"],
        unique=True,
        postgresql_where=STORED,
        sqlite_where=STORED,
    )
    op.create_table(
        "blob_chunks",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("blob_id", sa.Uuid(), nullable=False),
        sa.Column("start_byte", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "blob_id", "start_byte", name=op.f("pk_blob_chunks")),
    )
    op.create_table(
        "attachments",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("media_type", sa.String(length=100), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("blob_id", sa.Uuid(), nullable=True),
        sa.Column("model_media_type", sa.String(length=100), nullable=True),
        sa.Column("model_size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("model_sha256", sa.String(length=64), nullable=True),
        sa.Column("model_blob_id", sa.Uuid(), nullable=True),
        sa.Column("width", sa.Integer(), nullable=True),
        sa.Column("height", sa.Integer(), nullable=True),
        sa.Column("pages", sa.Integer(), nullable=True),
        sa.Column("duration_seconds", sa.Float(), nullable=True),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("sent_at", UTCDateTime(), nullable=True),
        sa.Column("deleted_at", UTCDateTime(), nullable=True),
        sa.CheckConstraint("kind IN ('image', 'pdf', 'audio')", name=op.f("ck_attachments_kind")),
        sa.CheckConstraint(
            "(blob_id IS NULL) = (deleted_at IS NOT NULL)", name=op.f("ck_attachments_deleted_without_bytes")
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_attachments_user_id_users"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id", "blob_id"], ["blobs.user_id", "blobs.id"], name=op.f("fk_attachments_user_id_blob_id_blobs")
        ),
        sa.ForeignKeyConstraint(
            ["user_id", "model_blob_id"],
            ["blobs.user_id", "blobs.id"],
            name=op.f("fk_attachments_user_id_model_blob_id_blobs"),
        ),
        sa.PrimaryKeyConstraint("user_id", "id", name=op.f("pk_attachments")),
    )
    op.create_index(op.f("ix_attachments_user_id_blob_id"), "attachments", ["user_id", "blob_id"])
    op.create_index(op.f("ix_attachments_user_id_model_blob_id"), "attachments", ["user_id", "model_blob_id"])
    op.create_index(
        op.f("ix_attachments_created_at"),
        "attachments",
        ["created_at"],
        postgresql_where=UNSENT,
        sqlite_where=UNSENT,
    )
    # Nothing ever wrote the table that is replaced.
    op.drop_table("message_attachments")
    op.create_table(
        "message_attachments",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("attachment_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id", "message_id"],
            ["messages.user_id", "messages.id"],
            name=op.f("fk_message_attachments_user_id_message_id_messages"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id", "attachment_id"],
            ["attachments.user_id", "attachments.id"],
            name=op.f("fk_message_attachments_user_id_attachment_id_attachments"),
        ),
        sa.PrimaryKeyConstraint("user_id", "message_id", "position", name=op.f("pk_message_attachments")),
    )
    op.create_index(
        op.f("ix_message_attachments_user_id_attachment_id"), "message_attachments", ["user_id", "attachment_id"]
    )
    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.add_column(sa.Column("attachment_count", sa.Integer(), server_default="0", nullable=False))


def downgrade() -> None:
    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.drop_column("attachment_count")
    op.drop_table("message_attachments")
    op.create_table(
        "message_attachments",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=True),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("filename", sa.String(length=255), nullable=False),
        sa.Column("media_type", sa.String(length=100), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.CheckConstraint("kind IN ('image', 'pdf', 'audio')", name=op.f("ck_message_attachments_kind")),
        sa.CheckConstraint("size_bytes >= 0", name=op.f("ck_message_attachments_size_not_negative")),
        sa.ForeignKeyConstraint(
            ["user_id", "message_id"],
            ["messages.user_id", "messages.id"],
            name=op.f("fk_message_attachments_user_id_message_id_messages"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_message_attachments_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "id", name=op.f("pk_message_attachments")),
    )
    op.create_index(op.f("ix_message_attachments_user_id_message_id"), "message_attachments", ["user_id", "message_id"])
    op.create_index(op.f("ix_message_attachments_user_id_sha256"), "message_attachments", ["user_id", "sha256"])
    op.drop_table("attachments")
    op.drop_table("blob_chunks")
    op.drop_table("blobs")
