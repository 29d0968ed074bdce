"""Pictures out of documents, films, animations and camera raw files.

The libraries for these are large, and a hostile file can crash them or eat all memory. So this
module runs in a process of its own (`python -m mmsearch.frames`), with a limit on its memory;
`isolation` starts it and asks it.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from io import BytesIO
from typing import Any

SIDE = 1024  # pixels of the longer side that a page or frame comes out with
MEMORY = 3 << 30  # bytes of address space; ignored where the system has no such limit
PAGES = 2_000  # of a document; frames of a film and of an animation
FRAMES, STILLS = 100, 16
APART = 2.0  # seconds at least between frames of a film
_TRIES = 600  # frames decoded to reach a time
_PIXELS = 64_000_000
# By content, not by name: a playlist called .mp4 could name other files, and other computers.
_FILMS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,ogg,asf,flv"
_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": _FILMS}


class Refused(Exception):
    """Why there is no picture; fit for a user."""


def pdf_pages(path: str) -> list[float]:
    """Return the numbers of the pages, from 1."""
    with _document(path) as document:
        return [float(n) for n in range(1, min(len(document), PAGES) + 1)]


def pdf_page(path: str, at: float) -> bytes:
    """Return a page as it looks, as a PPM."""
    with _document(path) as document:
        if not 1 <= at <= len(document):
            raise Refused("the document has no such page")
        page = document[int(at) - 1]
        width, height = page.get_size()
        if not (width > 0 and height > 0):
            raise Refused("a page without a size")
        return _ppm(page.render(scale=SIDE / max(width, height)).to_pil())


def video_times(path: str) -> list[float]:
    """Return the times of keyframes, in seconds: `APART` or more apart, `FRAMES` at most."""
    import av

    with av.open(path, options=_OPTIONS) as film:
        stream = _stream(film)
        base = stream.time_base or Fraction(1, 1000)
        index = [e.timestamp for e in getattr(stream, "index_entries", ()) if e.is_keyframe]
        times = [float(t * base) for t in index]
        if len(times) < 2:
            times = _sought(film, stream, base)
        return thinned(sorted(times), APART, FRAMES) or [0.0]


def video_frame(path: str, at: float) -> bytes:
    """Return the first frame at or after a time, upright, as a PPM."""
    import av

    with av.open(path, options=_OPTIONS) as film:
        stream = _stream(film)
        base = stream.time_base or Fraction(1, 1000)
        film.seek(int(at / base), stream=stream, backward=True)
        frame = None
        for n, frame in enumerate(film.decode(stream)):
            if n >= _TRIES or (frame.time or 0.0) >= at - 0.002:
                break
        if frame is None:
            raise Refused("no frame can be decoded there")
        image = frame.to_image()
        turn = getattr(frame, "rotation", 0)
        return _ppm(image.rotate(turn, expand=True) if turn else image)


def animation_times(path: str) -> list[float]:
    """Return the times at which frames begin, in seconds, without the first; evenly chosen."""
    from PIL import Image

    times, now = [], 0.0
    with Image.open(path) as image:
        _check_size(image.size)
        for n in range(min(getattr(image, "n_frames", 1), 1_000)):
            image.seek(n)
            times.append(now)
            now += max(float(image.info.get("duration") or 0), 10.0) / 1000
    return thinned([round(t, 3) for t in times[1:]], 0.0, STILLS)


def animation_frame(path: str, at: float) -> bytes:
    """Return the frame that is shown at a time, on white, as a PPM."""
    from PIL import Image

    with Image.open(path) as image:
        _check_size(image.size)
        now = 0.0
        for n in range(getattr(image, "n_frames", 1)):
            image.seek(n)
            now += max(float(image.info.get("duration") or 0), 10.0) / 1000
            if now > at + 0.0005:
                break
        shown = image.convert("RGBA")
    white = Image.new("RGBA", shown.size, "white")
    return _ppm(Image.alpha_composite(white, shown))


def raw_preview(path: str, _at: float = 0.0) -> bytes:
    """Return the picture that the camera has put into a raw file; without one, a development."""
    import rawpy
    from PIL import Image

    turns = {3: Image.Transpose.ROTATE_180, 5: Image.Transpose.ROTATE_90,
             6: Image.Transpose.ROTATE_270}  # fmt: skip
    with rawpy.imread(path) as raw:
        _check_size((raw.sizes.raw_width, raw.sizes.raw_height))
        try:
            preview: Any = raw.extract_thumb()
        except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError):
            return _ppm(Image.fromarray(raw.postprocess(half_size=True)))
        if preview.format is not rawpy.ThumbFormat.JPEG:
            image = Image.fromarray(preview.data)
        else:
            image = Image.open(BytesIO(preview.data))
            if raw.sizes.flip not in turns or image.getexif().get(0x0112, 1) != 1:
                return bytes(preview.data)
        turn = turns.get(raw.sizes.flip)
        return _ppm(image if turn is None else image.transpose(turn))


def thinned(times: Sequence[float], apart: float, most: int) -> list[float]:
    """Return times at least so far apart, and not more than `most`, evenly chosen."""
    kept: list[float] = []
    for time in times:
        if not kept or time - kept[-1] >= apart:
            kept.append(time)
    if len(kept) > most:
        kept = [kept[n * len(kept) // most] for n in range(most)]
    return kept


ANSWERS: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (pdf_pages, pdf_page, video_times, video_frame, animation_times, animation_frame,
              raw_preview)
}  # fmt: skip


def main() -> None:
    """Answer requests, a JSON line each, until standard input ends."""
    _limit_memory()
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        try:
            found = ANSWERS[asked["what"]](asked["path"], *asked["at"])
        except MemoryError:
            _answer({"error": "it needs too much memory"})
        except Exception as error:  # noqa: BLE001 - whatever the libraries raise on a broken file
            _answer({"error": _reason(error)})
        else:
            data = found if isinstance(found, bytes) else json.dumps(found).encode()
            _answer({"bytes": len(data)}, data)


def _answer(head: dict[str, Any], data: bytes = b"") -> None:
    sys.stdout.buffer.write(json.dumps(head).encode() + b"\n" + data)
    sys.stdout.buffer.flush()


def _limit_memory() -> None:
    # Windows has no such limit, and macOS refuses to set it.
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def _reason(error: Exception) -> str:
    if isinstance(error, Refused):
        return str(error)
    if isinstance(error, OSError) and isinstance(error.strerror, str):
        return error.strerror
    text = " ".join(str(error).split())
    if "password" in text.lower():
        return "it is encrypted"
    return f"damaged, or of a kind that cannot be read: {text[:100] or type(error).__name__}"


def _document(path: str) -> Any:
    import pypdfium2

    return pypdfium2.PdfDocument(path)


def _stream(film: Any) -> Any:
    # A cover of an album is a video stream of one picture.
    found = [s for s in film.streams.video if not (int(s.disposition) & 0x400)]
    if not found:
        raise Refused("it has no moving pictures")
    context = found[0].codec_context
    _check_size((context.width, context.height))
    found[0].thread_count = 1
    return found[0]


def _sought(film: Any, stream: Any, base: Fraction) -> list[float]:
    """Return the times of the keyframes that seeking leads to, for files without an index."""
    import av

    seconds = float(film.duration or 0) / av.time_base
    first = float((stream.start_time or 0) * base)
    step = max(APART, seconds / FRAMES)
    times = set()
    for n in range(int(seconds / step) + 1):
        film.seek(int((first + n * step) / base), stream=stream, backward=True)
        packet = next((p for p in film.demux(stream) if p.pts is not None), None)
        if packet is not None:
            times.add(float(packet.pts * base))
    return sorted(times)


def _check_size(size: tuple[int, int]) -> None:
    if size[0] * size[1] > _PIXELS:
        raise Refused(f"{size[0]} x {size[1]} pixels; the limit is {_PIXELS // 10**6} megapixels")


def _ppm(image: Any) -> bytes:
    """Return a picture as a PPM: as quick to write as to read, and the same each time."""
    image = image.convert("RGB")
    image.thumbnail((SIDE, SIDE))
    file = BytesIO()
    image.save(file, "PPM")
    return file.getvalue()


if __name__ == "__main__":
    main()
