"""The page: a photograph goes in by the browser and the portrait is seen beside it, on this computer alone.

Every request carries its photograph, as the body, and nothing of it is kept: neither in a file nor in memory. One
photograph is worked on at a time; the others wait in the order in which they came.

    POST /preview    the photograph and its portraits at strength 0 and 1, small enough for a screen, as JSON
    POST /portrait   the portrait at full resolution, in the format that came
    GET  /line       how many photographs are here, and how many of them are before that of a ticket

What the portrait shall look like stands in the query: `strength`, `background`, `red_eye`, `whole`, as in `Look`; `name`
is what the photograph is called in sentences, `ticket` what it is known by in the line. Status 422 means that the
photograph cannot be used, 409 that nobody was found in it: with `whole=1` it is treated as a whole. A portrait changes
linearly with its strength, so the page shows every strength from two of them.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

import cv2
import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from deepflash.errors import ModelError, NoFaceError, PictureError
from deepflash.faces import PEOPLE_SIDE_PX
from deepflash.loopback import RequestError, guarded, page_of, served
from deepflash.model.enhancement.enhancer import Enhancer
from deepflash.model.enhancement.look import Look, parse_background
from deepflash.photos import Photo, Pixels, decode_photo, encode_photo, suffix_for
from deepflash.pictures import Picture

_PAGE = files("deepflash.model.enhancement") / "serve.html"
_PREVIEW_QUALITY = 92
_MOST_PRESENT = 4  # photographs in memory at a time; bounds it
_LOOK_EVERY_S = 0.05
_BODY_LIMIT_S = 60.0  # by cable or on this computer it takes less than one
_LONGEST_NAME = 120
_MEDIA_TYPES = {".jpg": "image/jpeg", ".png": "image/png", ".webp": "image/webp", ".tif": "image/tiff"}
_OPTIONS = {"strength", "background", "red_eye", "whole", "name", "ticket"}
_WORDS = {"0": False, "1": True}
_NOBODY_FOUND, _CANNOT_BE_USED, _GONE = 409, 422, 499


@dataclass(frozen=True)
class Limits:
    """What a photograph may have: millions of pixels, and of bytes."""

    megapixels: int = 64
    megabytes: int = 64


@contextmanager
def served_page(enhancer: Enhancer, *, port: int = 0, limits: Limits | None = None) -> Iterator[str]:
    """Serve the page from a thread of this process while the block runs; yield its address.

    Parameters
    ----------
    enhancer
        Makes the portraits.
    port
        Of 127.0.0.1; 0 takes a free one.
    limits
        Of a photograph; `Limits()` if not given.

    Raises
    ------
    ServingError
        if the port is taken.
    """
    with served(build_app(enhancer, limits or Limits()), port=port) as taken:
        yield f"http://127.0.0.1:{taken}/"


def build_app(enhancer: Enhancer, limits: Limits) -> Starlette:
    """Return the page's application (ASGI)."""
    studio = _Studio(enhancer, limits)
    routes = [
        Route("/", guarded(studio.show_page, _status)),
        Route("/line", guarded(studio.line, _status)),
        Route("/preview", guarded(studio.preview, _status), methods=["POST"]),
        Route("/portrait", guarded(studio.portrait, _status), methods=["POST"]),
    ]
    return Starlette(routes=routes)


class _Studio:
    """Answers requests, one photograph at a time."""

    def __init__(self, enhancer: Enhancer, limits: Limits) -> None:
        self._enhancer = enhancer
        self._limits = limits
        self._present = 0  # photographs in memory
        self._line: list[Request] = []  # those that have arrived; the first is worked on

    async def show_page(self, _request: Request) -> Response:
        limits = {"megapixels": str(self._limits.megapixels), "megabytes": str(self._limits.megabytes)}
        return page_of(_PAGE, **limits)

    async def line(self, request: Request) -> Response:
        ticket = request.query_params.get("ticket", "")
        tickets = [waiting.query_params.get("ticket") for waiting in self._line]
        return JSONResponse({"present": self._present, "before": tickets.index(ticket) if ticket in tickets else 0})

    async def preview(self, request: Request) -> Response:
        return JSONResponse(await self._in_turn(request, self._make_preview))

    async def portrait(self, request: Request) -> Response:
        content, suffix = await self._in_turn(request, self._make_portrait)
        return Response(content, media_type=_MEDIA_TYPES[suffix])

    async def _in_turn(self, request: Request, make: Callable[[Photo, Look], Any]) -> Any:
        """Read a photograph, wait, and make something of it, unless whoever wants it has gone by then."""
        look, name = _look_of(request.query_params), _name_of(request.query_params)
        with self._presence():
            encoded = await _read_photograph(request, name, self._limits.megabytes)
            async with self._turn(request):
                return await run_in_threadpool(self._make, encoded, name, look, make)

    @contextmanager
    def _presence(self) -> Iterator[None]:
        if self._present >= _MOST_PRESENT:
            raise RequestError(503, f"{self._present} photographs are here already; try again in a moment")
        self._present += 1
        try:
            yield
        finally:
            self._present -= 1

    @asynccontextmanager
    async def _turn(self, request: Request) -> AsyncIterator[None]:
        """Wait for those before; whoever goes away meanwhile, as a page does that asks for something else, is dropped."""
        self._line.append(request)
        try:
            while self._line[0] is not request:
                await asyncio.sleep(_LOOK_EVERY_S)
                if await request.is_disconnected():
                    raise RequestError(_GONE, "nobody waits for this any more")
            yield
        finally:
            self._line.remove(request)

    def _make(self, encoded: bytes, name: str, look: Look, make: Callable[[Photo, Look], Any]) -> Any:
        photo = decode_photo(encoded, name, max_pixels=self._limits.megapixels * 10**6)
        try:
            return make(photo, look)
        except NoFaceError as error:
            raise RequestError(
                _NOBODY_FOUND, f"no face was found in {name}; turn it if it is not upright, or treat it as a whole"
            ) from error

    def _make_preview(self, photo: Photo, look: Look) -> dict[str, Any]:
        small = _reduced(photo)
        portrait = self._enhancer.develop(small, look)
        pictures = {"before": small, "weakest": portrait(0.0), "strongest": portrait(1.0)}
        height, width = photo.pixels.shape[:2]
        shown = {light: _address_of(picture) for light, picture in pictures.items()}
        return {"width": width, "height": height, "suffix": suffix_for(photo), **shown}

    def _make_portrait(self, photo: Photo, look: Look) -> tuple[bytes, str]:
        suffix = suffix_for(photo)
        return encode_photo(self._enhancer.enhance(photo, look), suffix), suffix


def _status(error: Exception) -> int:
    return _CANNOT_BE_USED if isinstance(error, PictureError | ModelError) else 500


def _look_of(query: Mapping[str, str]) -> Look:
    unknown = set(query) - _OPTIONS
    if unknown:
        known = ", ".join(sorted(_OPTIONS))
        raise RequestError(_CANNOT_BE_USED, f"unknown option {min(unknown)!r}; known here: {known}")
    try:
        return Look(
            strength=float(query.get("strength", "1")),
            background=parse_background(query.get("background", "keep")),
            red_eye=_WORDS[query.get("red_eye", "1")],
            whole=_WORDS[query.get("whole", "0")],
        )
    except ValueError as error:
        raise RequestError(_CANNOT_BE_USED, "strength is a number from 0 to 1") from error
    except KeyError as error:
        raise RequestError(_CANNOT_BE_USED, f"red_eye and whole are 0 or 1, not {error}") from error


def _name_of(query: Mapping[str, str]) -> str:
    """Return what sentences call the photograph: its file's name, without what could not be printed."""
    name = "".join(letter for letter in query.get("name", "") if letter.isprintable())
    return name[-_LONGEST_NAME:] or "the photograph"


async def _read_photograph(request: Request, name: str, megabytes: int) -> bytes:
    """Read the body, and no more of it than is allowed."""
    too_large = RequestError(413, f"{name} has more than {megabytes} MB; make it smaller, or serve with --max-megabytes")
    if int(request.headers.get("content-length", "0")) > megabytes * 10**6:
        raise too_large
    encoded = bytearray()
    try:
        async with asyncio.timeout(_BODY_LIMIT_S):
            async for part in request.stream():
                encoded += part
                if len(encoded) > megabytes * 10**6:
                    raise too_large
    except TimeoutError as error:
        raise RequestError(408, f"{name} did not arrive within {_BODY_LIMIT_S:.0f} s; send it again") from error
    except ClientDisconnect as error:
        raise RequestError(_GONE, f"{name} broke off on its way") from error
    return bytes(encoded)


def _reduced(photo: Photo) -> Photo:
    """Return the photograph in 8 bits and of a screen's size, in which the same faces are found as in the whole."""
    return replace(photo, pixels=_reduce(photo.pixels), alpha=None if photo.alpha is None else _reduce(photo.alpha))


def _reduce(pixels: Pixels) -> Picture:
    height, width = pixels.shape[:2]
    scale = min(1.0, PEOPLE_SIDE_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    reduced = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return np.asarray(reduced if pixels.dtype == np.uint8 else np.rint(reduced / 257), dtype=np.uint8)


def _address_of(photo: Photo) -> str:
    """Return a picture as the address of an image that holds it."""
    suffix = ".jpg" if photo.alpha is None else ".png"
    encoded = encode_photo(photo, suffix, metadata="none", quality=_PREVIEW_QUALITY)
    return f"data:{_MEDIA_TYPES[suffix]};base64,{base64.b64encode(encoded).decode()}"
