"""Presets: what a version of one holds, how two versions differ, and how one is called where a model is named."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal
from uuid import UUID

HANDLE_PATTERN = r"^[a-z0-9](?:[a-z0-9-]{1,38})[a-z0-9]$"
RESERVED_HANDLES = frozenset(
    {"admin", "api", "help", "me", "openrouter", "preset", "presets", "public", "root", "stable", "support", "wisqu"}
)
"""Names that would read as something else than a person's."""
_WITHOUT_NAME = re.compile(r"u-[0-9a-f]{12}")


def handle_without_name(user_id: UUID) -> str:
    """What an account is called that publishes and has chosen no handle; it says nothing of its owner."""
    return f"u-{user_id.hex[-12:]}"


def may_choose_handle(handle: str, user_id: UUID) -> bool:
    """Whether it is no reserved one, and none that another account will be given."""
    is_given = _WITHOUT_NAME.fullmatch(handle) and handle != handle_without_name(user_id)
    return handle not in RESERVED_HANDLES and not is_given


OWN = "me"
STABLE = "stable"
MOST_FALLBACKS = 10

_ADDRESS = re.compile(
    r"@(?P<owner>[a-z0-9-]{1,40})/(?P<slug>[a-z0-9]+(?:-[a-z0-9]+)*)(?:@(?P<version>[1-9][0-9]{0,8}|stable))?",
    re.ASCII,
)

VersionChoice = int | Literal["stable"] | None
"""A number, the one its owner calls stable, or the newest."""


@dataclass(frozen=True, slots=True)
class PresetAddress:
    """``@owner/slug``, with ``@3`` or ``@stable`` behind it for a version; the owner ``me`` is the caller."""

    owner: str
    slug: str
    version: VersionChoice = None

    def __str__(self) -> str:
        behind = "" if self.version is None else f"@{self.version}"
        return f"@{self.owner}/{self.slug}{behind}"


@dataclass(frozen=True, slots=True)
class PresetId:
    """A preset by its id."""

    id: UUID
    version: VersionChoice = None


PresetName = PresetAddress | PresetId


def names_preset(model: str) -> bool:
    """Whether what stands in place of a model is meant to be a preset: no model's id begins like that."""
    return model.startswith("@")


def read_address(text: str) -> PresetAddress | None:
    """The address a text is; ``None`` if it is none."""
    found = _ADDRESS.fullmatch(text)
    if found is None:
        return None
    version: VersionChoice = None
    if found["version"]:
        version = "stable" if found["version"] == STABLE else int(found["version"])
    return PresetAddress(found["owner"], found["slug"], version)


@dataclass(frozen=True, slots=True, kw_only=True)
class PresetContent:
    """All of a preset that has versions: a change of any of it makes a new one."""

    name: str
    model: str
    description: str | None = None
    system_prompt: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    fallback_models: list[str] | None = None
    reasoning: dict[str, Any] | None = None
    response_schema: dict[str, Any] | None = None
    web_search: bool = False
    variables: dict[str, dict[str, Any]] | None = None

    def as_json(self) -> dict[str, Any]:
        """As it is stored."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "PresetContent":
        """What was stored; fields that came later have their defaults."""
        return cls(**{name: stored[name] for name in CONTENT_FIELDS if name in stored})

    @classmethod
    def of(cls, row: Any) -> "PresetContent":
        """The newest version, off the preset's row."""
        return cls(**{name: getattr(row, name) for name in CONTENT_FIELDS})


CONTENT_FIELDS = tuple(each.name for each in fields(PresetContent))


@dataclass(frozen=True, slots=True)
class Change:
    """What one field was, and what it became."""

    field: str
    before: Any
    after: Any


def differences(before: PresetContent, after: PresetContent) -> list[Change]:
    """The fields in which two versions differ, in the order of the fields."""
    old, new = before.as_json(), after.as_json()
    return [Change(name, old[name], new[name]) for name in CONTENT_FIELDS if old[name] != new[name]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PresetInUse:
    """One version of a preset, about to answer. ``newest`` is the number of the version its owner wrote last."""

    owner_id: UUID
    id: UUID
    slug: str
    version: int
    newest: int
    content: PresetContent
