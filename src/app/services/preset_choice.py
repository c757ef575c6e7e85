"""Which preset answers a question: the one it names, that of the answer it replaces, or the conversation's own."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from app.core.errors import InvalidField, NotFound
from app.db.unit_of_work import UnitOfWork
from app.domain.preset_variables import WrongValue, fill, told
from app.domain.presets import PresetContent, PresetId, PresetInUse, PresetName, names_preset, read_address
from app.services.chat_turn import Question
from app.services.turn_place import Spot


def preset_named(question: Question) -> tuple[PresetName | None, Question]:
    """The preset a question names, by id or in place of its model, and the question without that.

    Raises :class:`NotFound` for what begins like the address of a preset and is none: never another model answers.
    """
    for model in question.fallback_models or ():
        if names_preset(model):
            raise InvalidField("fallback_models", f"{model!r} is a preset: only models can be fallen back on.")
    if question.model is None or not names_preset(question.model):
        return (PresetId(question.preset_id) if question.preset_id else None), question
    if question.preset_id is not None:
        raise InvalidField("model", "names a preset, and so does preset_id. Give one of them.")
    return address_of(question.model), replace(question, model=None)


def address_of(text: str) -> PresetName:
    """What an address names; raises :class:`NotFound` for what is none."""
    address = read_address(text)
    if address is None:
        raise _unknown(text)
    return address


async def require_preset(uow: UnitOfWork, user_id: UUID, name: PresetName, *, began_with: bool = False) -> PresetInUse:
    """The version that is meant; raises :class:`NotFound`. ``began_with``: a conversation has it already."""
    found = await uow.presets.find_for_use(user_id, name, began_with=began_with)
    if found is None:
        raise _unknown(str(name.id) if isinstance(name, PresetId) else str(name))
    return found


async def settle_preset(
    uow: UnitOfWork, user_id: UUID, name: PresetName | None, found: PresetInUse | None, spot: Spot
) -> tuple[PresetInUse | None, tuple[str, ...]]:
    """What answers at this place, and what to note about it.

    A conversation keeps to the version it began with, whatever becomes of the preset, unless a question names another.
    """
    if found is not None:
        floats = name is not None and name.version is None
        if floats and spot.preset_id == found.id and spot.preset_version != found.version:
            return await _began_with(uow, user_id, found.id, spot.preset_version) or found, ()
        return found, ()
    if spot.asked is not None and spot.beside is not None and spot.beside.role == "assistant":
        if spot.beside.preset_id is None:
            return None, ()
        again = await _began_with(uow, user_id, spot.beside.preset_id, spot.beside.preset_version)
        return again, () if again else ("The preset of the earlier answer is gone; it was answered without.",)
    if spot.preset_id is None:
        return None, ()
    own = await _began_with(uow, user_id, spot.preset_id, spot.preset_version)
    return own, () if own else ("The preset of this conversation is gone; it was answered without.",)


def values_for(content: PresetContent, given: Mapping[str, Any] | None) -> str:
    """What the preset's variables stand for, in words for the model; raises ``InvalidField`` for an empty one."""
    if not content.variables:
        return ""
    known = {name: value for name, value in (given or {}).items() if name in content.variables}
    return told(check_values(content, known))


def check_values(content: PresetContent, given: Mapping[str, Any]) -> dict[str, Any]:
    """What each variable stands for; raises ``InvalidField`` naming the one that is wrong."""
    try:
        return fill(content.variables or {}, given)
    except WrongValue as wrong:
        raise InvalidField("preset_values", f"{wrong.name}: {wrong}.") from None


async def _began_with(uow: UnitOfWork, user_id: UUID, preset_id: UUID, version: int | None) -> PresetInUse | None:
    # An answer without a number is older than versions: what its preset held then became the first.
    return await uow.presets.find_for_use(user_id, PresetId(preset_id, version or 1), began_with=True)


def _unknown(name: str) -> NotFound:
    return NotFound(f"No preset {name!r}.")
