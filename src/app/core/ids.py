"""Identifiers: UUIDv7, so that keys sort by time and indexes stay dense."""

from uuid import UUID

from uuid_utils.compat import uuid7


def new_id() -> UUID:
    """A fresh identifier; later ones of this process sort after earlier ones."""
    return uuid7()
