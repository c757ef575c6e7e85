"""Pictures: decoded whole, turned upright, stripped of all but their pixels, and scaled for models."""

import os
import warnings
from io import BytesIO
from typing import Any, BinaryIO

from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from app.media.refusals import Refused

MODEL_EDGE = 1568
"""The longer edge of a model's copy, in pixels: more is scaled down by the models' hosts, and paid for."""
MODEL_QUALITY = 85
KEPT_QUALITY = 92
THUMBNAIL_EDGE = 384
THUMBNAIL_QUALITY = 80
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF")


def read_picture(file: BinaryIO, asked: dict[str, Any]) -> dict[str, Any]:
    """Write the copy that is kept and that of models to the descriptors ``kept`` and ``model``.

    The same picture always gives the same bytes. Of a moving picture the first frame is kept, of a GIF as PNG.
    """
    picture, container = _open(file, asked["most"])
    upright = _plain(ImageOps.exif_transpose(picture))
    media_type = _write_kept(upright, container, asked["kept"])
    _write(_for_models(upright), asked["model"], format="JPEG", quality=MODEL_QUALITY)
    return {"media_type": media_type, "width": upright.width, "height": upright.height}


def read_drawn(file: BinaryIO, asked: dict[str, Any]) -> dict[str, Any]:
    """Look at a picture that a model drew, and write a small one to the descriptor ``thumbnail``.

    It is kept as it came: its metadata say that a machine made it, and belong to it.
    """
    picture, container = _open(file, asked["most"])
    upright = _plain(ImageOps.exif_transpose(picture))
    size = {"width": upright.width, "height": upright.height}
    upright.thumbnail((THUMBNAIL_EDGE, THUMBNAIL_EDGE), Image.Resampling.LANCZOS)
    _write(upright, asked["thumbnail"], format="WEBP", quality=THUMBNAIL_QUALITY)
    return {"media_type": Image.MIME[container], **size}


def _open(file: BinaryIO, most: int) -> tuple[Image.Image, str]:
    """The decoded picture, and in which format it is."""
    Image.MAX_IMAGE_PIXELS = most
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    try:
        picture: Image.Image = Image.open(file, formats=_FORMATS)
        if picture.width * picture.height > most:
            raise Refused("too_large", picture.width * picture.height)
        container = picture.format or ""
        picture.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Refused("too_large") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise Refused("damaged") from error
    return picture, container


def _plain(picture: Image.Image) -> Image.Image:
    """The pixels alone, as grey, RGB or RGBA in the usual colours."""
    profile = picture.info.get("icc_profile")
    has_alpha = "A" in picture.getbands() or "transparency" in picture.info
    if picture.mode.startswith(("I", "F")):
        picture = picture.convert("F").point(lambda value: value / 257).convert("L")
    elif has_alpha:
        picture = picture.convert("RGBA")
    elif picture.mode in ("1", "L"):
        picture = picture.convert("L")
    elif picture.mode != "RGB":
        picture, profile = picture.convert("RGB"), None
    if profile and picture.mode == "RGB":
        picture = _in_usual_colours(picture, profile)
    bare = Image.new(picture.mode, picture.size)
    bare.paste(picture)
    return bare


def _in_usual_colours(picture: Image.Image, profile: bytes) -> Image.Image:
    try:
        own = ImageCms.ImageCmsProfile(BytesIO(profile))
        changed = ImageCms.profileToProfile(picture, own, ImageCms.createProfile("sRGB"))
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture  # a profile that says nothing: as if it had none
    return changed or picture


def _for_models(picture: Image.Image) -> Image.Image:
    """The picture, which is not needed any more as it was: a copy would take as much memory again."""
    if picture.mode == "RGBA":
        white = Image.new("RGB", picture.size, "white")
        white.paste(picture, mask=picture.getchannel("A"))
        picture = white
    picture.thumbnail((MODEL_EDGE, MODEL_EDGE), Image.Resampling.LANCZOS)
    return picture


def _write_kept(picture: Image.Image, container: str, descriptor: int) -> str:
    if container in ("JPEG", "MPO"):  # several pictures in a JPEG, as phones write them: the first one
        _write(picture, descriptor, format="JPEG", quality=KEPT_QUALITY)
        return "image/jpeg"
    if container == "WEBP":
        _write(picture, descriptor, format="WEBP", quality=KEPT_QUALITY)
        return "image/webp"
    _write(picture, descriptor, format="PNG")
    return "image/png"


def _write(picture: Image.Image, descriptor: int, **options: Any) -> None:
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        picture.save(file, **options)
