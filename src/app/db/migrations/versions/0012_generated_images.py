"""Pictures that are kept as blobs, with what was asked for and what it cost."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.db.base import Money, UTCDateTime

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    # Nothing ever wrote the table that is replaced.
    op.drop_table("generated_images")
    op.create_table(
        "generated_images",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.Column("reference_id", sa.Uuid(), nullable=True),
        sa.Column("operation", sa.String(length=20), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("served_model", sa.String(length=200), nullable=False),
        sa.Column("provider", sa.String(length=100), nullable=True),
        sa.Column("aspect_ratio", sa.String(length=20), nullable=True),
        sa.Column("size", sa.String(length=20), nullable=True),
        sa.Column("quality", sa.String(length=20), nullable=True),
        sa.Column("background", sa.String(length=20), nullable=True),
        sa.Column("image_format", sa.String(length=20), nullable=True),
        sa.Column("seed", sa.BigInteger(), nullable=True),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("media_type", sa.String(length=100), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("blob_id", sa.Uuid(), nullable=False),
        sa.Column("thumbnail_blob_id", sa.Uuid(), nullable=False),
        sa.Column("thumbnail_size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("thumbnail_sha256", sa.String(length=64), nullable=False),
        sa.Column("generation_id", sa.String(length=200), nullable=True),
        sa.Column("cost_usd", Money(), nullable=True),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.CheckConstraint(
            "operation IN ('generate', 'edit', 'regenerate')", name=op.f("ck_generated_images_operation")
        ),
        sa.CheckConstraint("cost_usd >= 0", name=op.f("ck_generated_images_cost_not_negative")),
        sa.CheckConstraint("width > 0 AND height > 0", name=op.f("ck_generated_images_has_pixels")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_generated_images_user_id_users"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id", "blob_id"],
            ["blobs.user_id", "blobs.id"],
            name=op.f("fk_generated_images_user_id_blob_id_blobs"),
        ),
        sa.ForeignKeyConstraint(
            ["user_id", "thumbnail_blob_id"],
            ["blobs.user_id", "blobs.id"],
            name=op.f("fk_generated_images_user_id_thumbnail_blob_id_blobs"),
        ),
        sa.PrimaryKeyConstraint("user_id", "id", name=op.f("pk_generated_images")),
    )
    for column in ("blob_id", "thumbnail_blob_id", "request_id"):
        op.create_index(op.f(f"ix_generated_images_user_id_{column}"), "generated_images", ["user_id", column])


def downgrade() -> None:
    op.drop_table("generated_images")
    op.create_table(
        "generated_images",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("served_model", sa.String(length=200), nullable=True),
        sa.Column("aspect_ratio", sa.String(length=20), nullable=True),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("media_type", sa.String(length=100), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("generation_id", sa.String(length=200), nullable=True),
        sa.Column("cost_usd", Money(), nullable=True),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.CheckConstraint("cost_usd >= 0", name=op.f("ck_generated_images_cost_not_negative")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_generated_images_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "id", name=op.f("pk_generated_images")),
    )
    op.create_index(
        op.f("ix_generated_images_user_id_created_at_id"), "generated_images", ["user_id", "created_at", "id"]
    )
