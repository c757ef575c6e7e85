"""People who have pictures made in tests."""

import io
from typing import Any

import httpx2
from PIL import Image

from tests.support.accounts import Person

IMAGES = "/api/v1/images"
FLUX, NANO, IN_CHATS = "black-forest-labs/flux.2-pro", "google/gemini-2.5-flash-image", "google/gemini-nano-banana-2.1"
PROMPT_TAG = 0x010E


async def ask_for(person: Person, prompt: str = "A mosque at dawn", **body: Any) -> httpx2.Response:
    """``POST /images/generate``."""
    return await person.http.post(f"{IMAGES}/generate", json={"prompt": prompt, **body})


async def draw(person: Person, prompt: str = "A mosque at dawn", **body: Any) -> dict[str, Any]:
    """The only picture of a request."""
    answer = await ask_for(person, prompt, **body)
    assert answer.status_code == 200, answer.text
    [image] = answer.json()["images"]
    found: dict[str, Any] = image
    return found


async def images_used(person: Person) -> int:
    """How many pictures the month has counted."""
    return int((await person.usage())["images"]["used"])


def opened(content: bytes) -> Image.Image:
    """The picture, decoded whole."""
    picture = Image.open(io.BytesIO(content))
    picture.load()
    return picture


def prompt_in(content: bytes) -> str:
    """What the emulator wrote into the picture."""
    picture = opened(content)
    return str(picture.info.get("Description") or picture.getexif().get(PROMPT_TAG))
