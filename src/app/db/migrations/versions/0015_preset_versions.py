"""Versions of presets, names under which accounts publish them, and which version a conversation began with."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from app.db.base import UTCDateTime

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")
BEFORE = ("name", "model", "description", "system_prompt", "temperature", "top_p", "max_tokens")
"""What a preset held until now: its first version."""


def upgrade() -> None:
    with op.batch_alter_table("users", schema=None) as batch_op:
        batch_op.add_column(sa.Column("handle", sa.String(length=40), nullable=True))
        batch_op.create_unique_constraint(op.f("uq_users_handle"), ["handle"])
    with op.batch_alter_table("model_presets", schema=None) as batch_op:
        batch_op.add_column(sa.Column("fallback_models", JSON, nullable=True))
        batch_op.add_column(sa.Column("reasoning", JSON, nullable=True))
        batch_op.add_column(sa.Column("response_schema", JSON, nullable=True))
        batch_op.add_column(sa.Column("web_search", sa.Boolean(), server_default=sa.false(), nullable=False))
        batch_op.add_column(sa.Column("variables", JSON, nullable=True))
        batch_op.add_column(sa.Column("version", sa.Integer(), server_default="1", nullable=False))
        batch_op.add_column(sa.Column("stable_version", sa.Integer(), nullable=True))
        batch_op.create_index(op.f("ix_model_presets_id"), ["id"])
        batch_op.create_index(op.f("ix_model_presets_is_public_id"), ["is_public", "id"])
    op.create_table(
        "preset_versions",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("preset_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("content", JSON, nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id", "preset_id"],
            ["model_presets.user_id", "model_presets.id"],
            name=op.f("fk_preset_versions_user_id_model_presets"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("user_id", "preset_id", "number", name=op.f("pk_preset_versions")),
    )
    with op.batch_alter_table("conversations", schema=None) as batch_op:
        batch_op.add_column(sa.Column("preset_id", sa.Uuid(), nullable=True))
        batch_op.add_column(sa.Column("preset_version", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("preset_values", JSON, nullable=True))
    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.add_column(sa.Column("preset_version", sa.Integer(), nullable=True))
    _keep_first_versions()


def _keep_first_versions() -> None:
    presets = sa.table(
        "model_presets",
        sa.column("user_id", sa.Uuid()),
        sa.column("id", sa.Uuid()),
        sa.column("updated_at", UTCDateTime()),
        *(sa.column(name) for name in BEFORE),
    )
    versions = sa.table(
        "preset_versions",
        sa.column("user_id", sa.Uuid()),
        sa.column("preset_id", sa.Uuid()),
        sa.column("number", sa.Integer()),
        sa.column("content", JSON),
        sa.column("created_at", UTCDateTime()),
    )
    connection = op.get_bind()
    rows = [
        {
            "user_id": row["user_id"],
            "preset_id": row["id"],
            "number": 1,
            "content": {name: row[name] for name in BEFORE},
            "created_at": row["updated_at"],
        }
        for row in connection.execute(sa.select(presets)).mappings()
    ]
    if rows:
        connection.execute(sa.insert(versions), rows)


def downgrade() -> None:
    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.drop_column("preset_version")
    with op.batch_alter_table("conversations", schema=None) as batch_op:
        batch_op.drop_column("preset_values")
        batch_op.drop_column("preset_version")
        batch_op.drop_column("preset_id")
    op.drop_table("preset_versions")
    with op.batch_alter_table("model_presets", schema=None) as batch_op:
        batch_op.drop_index(op.f("ix_model_presets_is_public_id"))
        batch_op.drop_index(op.f("ix_model_presets_id"))
        for name in (
            "stable_version",
            "version",
            "variables",
            "web_search",
            "response_schema",
            "reasoning",
            "fallback_models",
        ):
            batch_op.drop_column(name)
    with op.batch_alter_table("users", schema=None) as batch_op:
        batch_op.drop_constraint(op.f("uq_users_handle"), type_="unique")
        batch_op.drop_column("handle")
