"""Every table of the product. User-owned tables carry ``user_id`` in their keys, so that they can be spread by user."""

from app.db.models.attachment import Attachment, Blob, BlobChunk, MessageAttachment
from app.db.models.conversation import Conversation, Message, MessageAttempt
from app.db.models.idempotency import IdempotencyKey
from app.db.models.library import GeneratedImage, ModelPreset, PresetVersion
from app.db.models.lifecycle import AuditEntry, PlanOverride
from app.db.models.parsed_file import ParsedFile
from app.db.models.rollup import AnswerFact, AnswerTally, SystemUsage, UsageMonthly
from app.db.models.subscription import (
    MonthlyUsageQuota,
    PlanLimitsRow,
    QuotaLease,
    Subscription,
    UnbilledCall,
    UsageDaily,
    UsageEvent,
)
from app.db.models.user import RefreshTokenRow, User

__all__ = [
    "AnswerFact",
    "AnswerTally",
    "Attachment",
    "AuditEntry",
    "Blob",
    "BlobChunk",
    "Conversation",
    "GeneratedImage",
    "IdempotencyKey",
    "Message",
    "MessageAttachment",
    "MessageAttempt",
    "ModelPreset",
    "MonthlyUsageQuota",
    "ParsedFile",
    "PlanLimitsRow",
    "PlanOverride",
    "PresetVersion",
    "QuotaLease",
    "RefreshTokenRow",
    "Subscription",
    "SystemUsage",
    "UnbilledCall",
    "UsageDaily",
    "UsageEvent",
    "UsageMonthly",
    "User",
]
