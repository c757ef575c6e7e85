"""Every table of the product."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from app.db.base import Money, UTCDateTime

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "plan_limits",
        sa.Column(
            "plan",
            sa.Enum("free", "premium", "unlimited", "enterprise", name="plantier", native_enum=False, length=20),
            nullable=False,
        ),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("price_usd_per_month", Money(), nullable=False),
        sa.Column("messages_per_month", sa.Integer(), nullable=False),
        sa.Column("tokens_per_month", sa.BigInteger(), nullable=False),
        sa.Column("images_per_month", sa.Integer(), nullable=False),
        sa.Column("cost_ceiling_usd_per_month", Money(), nullable=False),
        sa.Column("max_presets", sa.Integer(), nullable=False),
        sa.Column("max_context_tokens", sa.Integer(), nullable=False),
        sa.Column("requests_per_minute", sa.Integer(), nullable=True),
        sa.Column("web_search", sa.Boolean(), nullable=False),
        sa.Column("image_generation", sa.Boolean(), nullable=False),
        sa.Column("pdf_processing", sa.Boolean(), nullable=False),
        sa.Column("audio_processing", sa.Boolean(), nullable=False),
        sa.Column("prompt_caching", sa.Boolean(), nullable=False),
        sa.Column("advanced_models", sa.Boolean(), nullable=False),
        sa.Column("priority_support", sa.Boolean(), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.CheckConstraint(
            "messages_per_month >= 0 AND tokens_per_month >= 0 AND images_per_month >= 0",
            name=op.f("ck_plan_limits_limits_not_negative"),
        ),
        sa.CheckConstraint(
            "price_usd_per_month >= 0 AND cost_ceiling_usd_per_month >= 0",
            name=op.f("ck_plan_limits_money_not_negative"),
        ),
        sa.PrimaryKeyConstraint("plan", "version", name=op.f("pk_plan_limits")),
    )
    op.create_table(
        "usage_daily",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column(
            "plan",
            sa.Enum("free", "premium", "unlimited", "enterprise", name="plantier", native_enum=False, length=20),
            nullable=False,
        ),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("requests", sa.Integer(), nullable=False),
        sa.Column("messages", sa.Integer(), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("prompt_tokens", sa.Integer(), nullable=False),
        sa.Column("completion_tokens", sa.Integer(), nullable=False),
        sa.Column("cached_tokens_read", sa.Integer(), nullable=False),
        sa.Column("cached_tokens_write", sa.Integer(), nullable=False),
        sa.Column("cost_usd", Money(), nullable=False),
        sa.Column("cache_discount_usd", Money(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "day", "model", "plan", "kind", name=op.f("pk_usage_daily")),
    )
    with op.batch_alter_table("usage_daily", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_usage_daily_day"), ["day"], unique=False)

    op.create_table(
        "usage_events",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("attempt_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=True),
        sa.Column(
            "plan",
            sa.Enum("free", "premium", "unlimited", "enterprise", name="plantier", native_enum=False, length=20),
            nullable=False,
        ),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("provider", sa.String(length=100), nullable=True),
        sa.Column("generation_id", sa.String(length=200), nullable=True),
        sa.Column("period_start", UTCDateTime(), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("messages", sa.Integer(), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("prompt_tokens", sa.Integer(), nullable=False),
        sa.Column("completion_tokens", sa.Integer(), nullable=False),
        sa.Column("cached_tokens_read", sa.Integer(), nullable=False),
        sa.Column("cached_tokens_write", sa.Integer(), nullable=False),
        sa.Column("cost_usd", Money(), nullable=True),
        sa.Column("cache_discount_usd", Money(), nullable=True),
        sa.CheckConstraint(
            "cached_tokens_read + cached_tokens_write <= prompt_tokens",
            name=op.f("ck_usage_events_cached_within_prompt"),
        ),
        sa.CheckConstraint("cost_usd >= 0", name=op.f("ck_usage_events_cost_not_negative")),
        sa.PrimaryKeyConstraint("user_id", "id", name=op.f("pk_usage_events")),
    )
    with op.batch_alter_table("usage_events", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_usage_events_user_id_attempt_id_kind"), ["user_id", "attempt_id", "kind"], unique=True
        )
        batch_op.create_index(batch_op.f("ix_usage_events_user_id_created_at"), ["user_id", "created_at"], unique=False)

    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("full_name", sa.String(length=200), nullable=True),
        sa.Column("password_hash", sa.String(length=255), nullable=False),
        sa.Column("role", sa.Enum("user", "admin", name="role", native_enum=False, length=20), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("updated_at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("email", name=op.f("uq_users_email")),
    )
    op.create_table(
        "conversations",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=True),
        sa.Column("mode", sa.String(length=40), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("updated_at", UTCDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_conversations_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "id", name=op.f("pk_conversations")),
    )
    with op.batch_alter_table("conversations", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_conversations_user_id_updated_at_id"), ["user_id", "updated_at", "id"], unique=False
        )

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
    with op.batch_alter_table("generated_images", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_generated_images_user_id_created_at_id"), ["user_id", "created_at", "id"], unique=False
        )

    op.create_table(
        "model_presets",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("slug", sa.String(length=60), nullable=False),
        sa.Column("description", sa.String(length=500), nullable=True),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("system_prompt", sa.Text(), nullable=True),
        sa.Column("temperature", sa.Float(), nullable=True),
        sa.Column("top_p", sa.Float(), nullable=True),
        sa.Column("max_tokens", sa.Integer(), nullable=True),
        sa.Column("is_public", sa.Boolean(), nullable=False),
        sa.Column("origin_user_id", sa.Uuid(), nullable=True),
        sa.Column("origin_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("updated_at", UTCDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_model_presets_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "id", name=op.f("pk_model_presets")),
    )
    with op.batch_alter_table("model_presets", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_model_presets_user_id_slug"), ["user_id", "slug"], unique=True)

    op.create_table(
        "monthly_usage_quotas",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("period_start", UTCDateTime(), nullable=False),
        sa.Column("period_end", UTCDateTime(), nullable=False),
        sa.Column("messages_used", sa.Integer(), nullable=False),
        sa.Column("tokens_used", sa.BigInteger(), nullable=False),
        sa.Column("images_used", sa.Integer(), nullable=False),
        sa.Column("cost_usd", Money(), nullable=False),
        sa.Column("cache_savings_usd", Money(), nullable=False),
        sa.CheckConstraint(
            "messages_used >= 0 AND tokens_used >= 0 AND images_used >= 0 AND cost_usd >= 0",
            name=op.f("ck_monthly_usage_quotas_used_not_negative"),
        ),
        sa.CheckConstraint("period_start < period_end", name=op.f("ck_monthly_usage_quotas_period_runs_forward")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_monthly_usage_quotas_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "period_start", name=op.f("pk_monthly_usage_quotas")),
    )
    op.create_table(
        "quota_leases",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column(
            "plan",
            sa.Enum("free", "premium", "unlimited", "enterprise", name="plantier", native_enum=False, length=20),
            nullable=False,
        ),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("generation_id", sa.String(length=200), nullable=True),
        sa.Column("period_start", UTCDateTime(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("messages", sa.Integer(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("cost_usd", Money(), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("expires_at", UTCDateTime(), nullable=False),
        sa.CheckConstraint("state IN ('held', 'settled', 'released', 'expired')", name=op.f("ck_quota_leases_state")),
        sa.CheckConstraint(
            "messages >= 0 AND tokens >= 0 AND images >= 0 AND cost_usd >= 0",
            name=op.f("ck_quota_leases_held_not_negative"),
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_quota_leases_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "id", name=op.f("pk_quota_leases")),
    )
    with op.batch_alter_table("quota_leases", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_quota_leases_state_expires_at"), ["state", "expires_at"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_quota_leases_user_id_state_expires_at"), ["user_id", "state", "expires_at"], unique=False
        )

    op.create_table(
        "unbilled_calls",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("attempt_id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=True),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column(
            "plan",
            sa.Enum("free", "premium", "unlimited", "enterprise", name="plantier", native_enum=False, length=20),
            nullable=False,
        ),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("provider", sa.String(length=100), nullable=True),
        sa.Column("generation_id", sa.String(length=200), nullable=False),
        sa.Column("period_start", UTCDateTime(), nullable=False),
        sa.Column("period_end", UTCDateTime(), nullable=False),
        sa.Column("prompt_tokens", sa.Integer(), nullable=False),
        sa.Column("completion_tokens", sa.Integer(), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_try_at", UTCDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_unbilled_calls_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "attempt_id", name=op.f("pk_unbilled_calls")),
    )
    with op.batch_alter_table("unbilled_calls", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_unbilled_calls_next_try_at"), ["next_try_at"], unique=False)

    op.create_table(
        "idempotency_keys",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(length=32), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("reply", sa.Text(), nullable=True),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_idempotency_keys_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_table(
        "refresh_tokens",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("family_id", sa.Uuid(), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("expires_at", UTCDateTime(), nullable=False),
        sa.Column("used_at", UTCDateTime(), nullable=True),
        sa.Column("revoked_at", UTCDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_refresh_tokens_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "id", name=op.f("pk_refresh_tokens")),
    )
    with op.batch_alter_table("refresh_tokens", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_refresh_tokens_user_id_family_id"), ["user_id", "family_id"], unique=False)

    op.create_table(
        "subscriptions",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "plan",
            sa.Enum("free", "premium", "unlimited", "enterprise", name="plantier", native_enum=False, length=20),
            nullable=False,
        ),
        sa.Column("plan_version", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("anchor_at", UTCDateTime(), nullable=False),
        sa.Column("cancel_at", UTCDateTime(), nullable=True),
        sa.Column("cancel_reason", sa.String(length=500), nullable=True),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("updated_at", UTCDateTime(), nullable=False),
        sa.CheckConstraint("status IN ('active', 'cancelling')", name=op.f("ck_subscriptions_status")),
        sa.ForeignKeyConstraint(
            ["plan", "plan_version"],
            ["plan_limits.plan", "plan_limits.version"],
            name=op.f("fk_subscriptions_plan_plan_version_plan_limits"),
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_subscriptions_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "id", name=op.f("pk_subscriptions")),
    )
    with op.batch_alter_table("subscriptions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_subscriptions_user_id"), ["user_id"], unique=True)

    op.create_table(
        "messages",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("reasoning", sa.Text(), nullable=True),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("completed_at", UTCDateTime(), nullable=True),
        sa.Column("error_code", sa.String(length=60), nullable=True),
        sa.Column("finish_reason", sa.String(length=40), nullable=True),
        sa.Column("model", sa.String(length=200), nullable=True),
        sa.Column("provider", sa.String(length=100), nullable=True),
        sa.Column("preset_id", sa.Uuid(), nullable=True),
        sa.Column("generation_id", sa.String(length=200), nullable=True),
        sa.Column("first_token_ms", sa.Integer(), nullable=True),
        sa.Column("latency_ms", sa.Integer(), nullable=True),
        sa.Column("prompt_tokens", sa.Integer(), nullable=True),
        sa.Column("completion_tokens", sa.Integer(), nullable=True),
        sa.Column("total_tokens", sa.Integer(), nullable=True),
        sa.Column("total_cost_usd", Money(), nullable=True),
        sa.Column("is_provisional", sa.Boolean(), nullable=False),
        sa.Column("cached_tokens_read", sa.Integer(), nullable=True),
        sa.Column("cached_tokens_write", sa.Integer(), nullable=True),
        sa.Column("cache_discount_usd", Money(), nullable=True),
        sa.Column("cache_breakpoint_count", sa.Integer(), nullable=True),
        sa.Column("reasoning_tokens", sa.Integer(), nullable=True),
        sa.Column("audio_tokens", sa.Integer(), nullable=True),
        sa.Column("upstream_inference_cost_usd", Money(), nullable=True),
        sa.Column("routing_strategy", sa.String(length=40), nullable=True),
        sa.Column("fallback_used", sa.Boolean(), nullable=True),
        sa.Column(
            "models_attempted",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=True,
        ),
        sa.Column("final_model_used", sa.String(length=200), nullable=True),
        sa.Column(
            "response_schema",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=True,
        ),
        sa.Column(
            "structured_data",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=True,
        ),
        sa.Column("schema_validation_passed", sa.Boolean(), nullable=True),
        sa.CheckConstraint("role IN ('user', 'assistant')", name=op.f("ck_messages_role")),
        sa.CheckConstraint(
            "status IN ('pending', 'completed', 'failed', 'stopped', 'interrupted')", name=op.f("ck_messages_status")
        ),
        sa.CheckConstraint(
            "coalesce(cached_tokens_read, 0) + coalesce(cached_tokens_write, 0) <= prompt_tokens",
            name=op.f("ck_messages_cached_within_prompt"),
        ),
        sa.CheckConstraint("total_cost_usd >= 0", name=op.f("ck_messages_cost_not_negative")),
        sa.ForeignKeyConstraint(
            ["user_id", "conversation_id"],
            ["conversations.user_id", "conversations.id"],
            name=op.f("fk_messages_user_id_conversation_id_conversations"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("user_id", "id", name=op.f("pk_messages")),
    )
    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_messages_user_id_conversation_id_id"), ["user_id", "conversation_id", "id"], unique=False
        )

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
    with op.batch_alter_table("message_attachments", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_message_attachments_user_id_message_id"), ["user_id", "message_id"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_message_attachments_user_id_sha256"), ["user_id", "sha256"], unique=False)

    op.create_table(
        "message_attempts",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column(
            "models_asked",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=False,
        ),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("provider", sa.String(length=100), nullable=True),
        sa.Column("outcome", sa.String(length=20), nullable=False),
        sa.Column("http_status", sa.Integer(), nullable=True),
        sa.Column("error_code", sa.String(length=60), nullable=True),
        sa.Column("next_step", sa.String(length=40), nullable=True),
        sa.Column("generation_id", sa.String(length=200), nullable=True),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("first_token_ms", sa.Integer(), nullable=True),
        sa.Column("latency_ms", sa.Integer(), nullable=True),
        sa.Column("prompt_tokens", sa.Integer(), nullable=True),
        sa.Column("completion_tokens", sa.Integer(), nullable=True),
        sa.Column("cached_tokens_read", sa.Integer(), nullable=True),
        sa.Column("cached_tokens_write", sa.Integer(), nullable=True),
        sa.Column("cache_discount_usd", Money(), nullable=True),
        sa.Column("cost_usd", Money(), nullable=True),
        sa.CheckConstraint(
            "outcome IN ('completed', 'failed', 'stopped', 'interrupted')", name=op.f("ck_message_attempts_outcome")
        ),
        sa.CheckConstraint("cost_usd >= 0", name=op.f("ck_message_attempts_cost_not_negative")),
        sa.ForeignKeyConstraint(
            ["user_id", "message_id"],
            ["messages.user_id", "messages.id"],
            name=op.f("fk_message_attempts_user_id_message_id_messages"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("user_id", "id", name=op.f("pk_message_attempts")),
    )
    with op.batch_alter_table("message_attempts", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_message_attempts_user_id_message_id_ordinal"),
            ["user_id", "message_id", "ordinal"],
            unique=True,
        )


def downgrade() -> None:
    with op.batch_alter_table("message_attempts", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_message_attempts_user_id_message_id_ordinal"))

    op.drop_table("message_attempts")
    with op.batch_alter_table("message_attachments", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_message_attachments_user_id_sha256"))
        batch_op.drop_index(batch_op.f("ix_message_attachments_user_id_message_id"))

    op.drop_table("message_attachments")
    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_messages_user_id_conversation_id_id"))

    op.drop_table("messages")
    with op.batch_alter_table("subscriptions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_subscriptions_user_id"))

    op.drop_table("subscriptions")
    with op.batch_alter_table("refresh_tokens", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_refresh_tokens_user_id_family_id"))

    op.drop_table("refresh_tokens")
    op.drop_table("idempotency_keys")
    with op.batch_alter_table("unbilled_calls", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_unbilled_calls_next_try_at"))

    op.drop_table("unbilled_calls")
    with op.batch_alter_table("quota_leases", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_quota_leases_user_id_state_expires_at"))
        batch_op.drop_index(batch_op.f("ix_quota_leases_state_expires_at"))

    op.drop_table("quota_leases")
    op.drop_table("monthly_usage_quotas")
    with op.batch_alter_table("model_presets", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_model_presets_user_id_slug"))

    op.drop_table("model_presets")
    with op.batch_alter_table("generated_images", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_generated_images_user_id_created_at_id"))

    op.drop_table("generated_images")
    with op.batch_alter_table("conversations", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_conversations_user_id_updated_at_id"))

    op.drop_table("conversations")
    op.drop_table("users")
    with op.batch_alter_table("usage_events", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_usage_events_user_id_created_at"))
        batch_op.drop_index(batch_op.f("ix_usage_events_user_id_attempt_id_kind"))

    op.drop_table("usage_events")
    with op.batch_alter_table("usage_daily", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_usage_daily_day"))

    op.drop_table("usage_daily")
    op.drop_table("plan_limits")
