"""How a conversation is held: each mode is a named system prompt, kept as data in ``modes.toml``."""

import tomllib
from dataclasses import dataclass
from importlib.resources import files

DEFAULT_MODE = "standard"


@dataclass(frozen=True, slots=True)
class Mode:
    """One way of answering. ``system_prompt`` never changes within a turn, so that it can be cached by everyone."""

    name: str
    title: str
    description: str
    system_prompt: str


def _load() -> dict[str, Mode]:
    data = tomllib.loads(files("app.domain").joinpath("modes.toml").read_text("utf-8"))
    common = data.pop("common")["rules"].strip()
    return {
        name: Mode(name, row["title"], row["description"], f"{row['system_prompt'].strip()}\n\n{common}")
        for name, row in data.items()
    }


MODES: dict[str, Mode] = _load()


def mode_or_default(name: str) -> Mode:
    """The mode of this name; a mode that has since been removed falls back to the default one."""
    return MODES.get(name, MODES[DEFAULT_MODE])
