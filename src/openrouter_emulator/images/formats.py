"""A drawn picture in the format that was asked for."""

import base64
import io

from PIL import Image

from openrouter_emulator.images.png import draw_png

_IMAGE_DESCRIPTION = 0x010E


def draw(seed: str, size: tuple[int, int], *, prompt: str, file_format: str | None) -> str:
    """The picture as base64. Its metadata tell the prompt, so that whoever gets it knows which one it is."""
    png = draw_png(seed, *size, prompt=prompt)
    if file_format not in ("jpeg", "webp"):
        return base64.b64encode(png).decode()
    picture, file = Image.open(io.BytesIO(png)), io.BytesIO()
    exif = Image.Exif()
    exif[_IMAGE_DESCRIPTION] = prompt
    picture.save(file, format=file_format, exif=exif, quality=80)
    return base64.b64encode(file.getvalue()).decode()


def media_type(file_format: str | None) -> str:
    return f"image/{file_format}" if file_format in ("jpeg", "webp") else "image/png"
