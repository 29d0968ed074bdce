"""Opening a picture: any sound file in, an upright sRGB picture out; or a reason."""

from __future__ import annotations

import logging
import os
import re
import stat
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError

from index_store.types import MetaValue
from mmsearch.errors import BadPicture, MissingExtra
from mmsearch.exif import orientation
from mmsearch.metadata import file_meta
from mmsearch.pixels import to_srgb
from mmsearch.types import Picture

MAX_PIXELS = 178_956_970  # twice Pillow's warning limit, where Pillow itself refuses
MAX_BYTES = 2 << 30  # several formats are read into memory whole
MAX_JPEG_SCANS = 100  # a 42 KB JPEG of 3,000 scans costs 5 s of CPU; real ones have about 10

# A file that claims many pixels in next to no bytes. Blank pictures of 20 megapixels, as real
# encoders write them, reach 24,000 pixels a byte (WebP, JPEG 2000), 13,000 (AVIF), 12,000
# (TIFF G4); deflate cannot pass 8,300 (1-bit PNG). Small ones do no harm and are let through.
PLAUSIBLE_PIXELS = 16_000_000
PLAUSIBLE_PIXELS_PER_BYTE = 50_000
# Codes that cannot reach that. Run lengths: 252 (1-bit PCX). JPEG: a bit for each 8 x 8 block.
_RUN_LENGTHS = ("BMP", "DIB", "DDS", "PCX", "QOI", "TGA")
_DENSEST = {"JPEG": 1000, "MPO": 1000, **dict.fromkeys(_RUN_LENGTHS, 256)}

# Above this, one picture at a time: the worst (WebP) takes 15 bytes a pixel while it decodes.
_LARGE = 32_000_000
_large_turn = threading.Lock()

# Content decides, the name never does. Left out on purpose: EPS, WMF, EMF (run other
# programs), PDF, FITS, ICNS (unsafe or no pictures). The most frequent stand first; TGA last,
# as it has no magic number and takes nearly anything for its own.
_FORMATS = (
    "JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "ICO", "CUR", "PSD", "PPM",
    "DIB", "DDS", "SGI", "QOI", "PCX", "DCX", "SUN", "MSP", "XBM", "XPM", "TGA",
)  # fmt: skip

# By these a folder listing decides what to try. EPS, EXR, HDR and ICNS are pictures to their
# owner: they are tried, and fail with a reason, rather than vanish.
_EXTENSIONS = frozenset({
    "jpg", "jpeg", "jpe", "jfif", "jif", "mpo", "png", "apng", "webp", "gif", "bmp", "dib",
    "tif", "tiff", "avif", "avifs", "heic", "heics", "heif", "heifs", "hif", "ico", "cur", "psd",
    "jp2", "j2k", "j2c", "jpc", "jpf", "jpx", "pbm", "pgm", "ppm", "pnm", "pfm", "dds", "sgi",
    "rgb", "rgba", "bw", "qoi", "pcx", "dcx", "ras", "sun", "msp", "xbm", "xpm", "tga", "icb",
    "vda", "vst", "eps", "exr", "hdr", "icns",
})  # fmt: skip

_FOREIGN = {
    b"%!PS": "EPS pictures are refused: reading one can run other programs",
    b"%PDF": "a PDF file, not a picture",
    b"icns": "ICNS pictures are refused",
    b"SIMPLE  =": "FITS pictures are refused",
    b"PK\3\4": "a zip file, not a picture",
    b"\x76\x2f\x31\x01": "OpenEXR pictures cannot be read",
    b"#?": "Radiance HDR pictures cannot be read",
    b"\0\5\x16\7": "an AppleDouble side file, not a picture",
}
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_ANY_HEIF_BRANDS = frozenset({b"mif1", b"mif2", b"msf1", b"miaf"})

# Everything that Pillow, its codecs and its plug-ins have been seen to raise on fuzzed files.
_DECODER_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, BufferError, EOFError, ImageCms.PyCMSError,
    Image.DecompressionBombError, LookupError, MemoryError, NameError, OSError, RuntimeError,
    SyntaxError, TypeError, ValueError, Warning, struct.error, zlib.error,
)  # fmt: skip

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


# Without a handler Pillow's log lines would go to stderr; with this, only to who asks for them.
logging.getLogger("PIL").addHandler(logging.NullHandler())


def is_picture_name(name: str) -> bool:
    """Return whether a file's name ends like a picture's; case does not matter."""
    return Path(name).suffix[1:].lower() in _EXTENSIONS


def open_picture(
    source: str | Path | bytes, *, target: int | None = None, max_pixels: int = MAX_PIXELS
) -> Picture:
    """Return the first frame, upright, RGB, in sRGB, transparency on white; and its meta.

    Thread-safe. A warning of Pillow's is not shown: trouble is an error or does not matter.

    Args:
        source: a path, or the file's bytes.
        target: a side in pixels that the caller will scale to. A JPEG is then decoded at
            1/2, 1/4 or 1/8 and another picture above 8 megapixels reduced, never below
            2 * target on the short side; `meta` keeps the file's own size.
        max_pixels: more than this is refused, from the header. Pillow's own limit
            (`PIL.Image.MAX_IMAGE_PIXELS`, twice) holds besides.

    Raises:
        BadPicture: the file cannot be read or decoded, or is refused; the message is the
            reason, without the path.
    """
    with _no_warnings():
        try:
            with _opened(source) as file:
                return _decode(file, target, max_pixels)
        except _DECODER_ERRORS as error:
            raise BadPicture(_reason(error)) from error


def read_meta(source: str | Path | bytes) -> dict[str, MetaValue]:
    """Return what a file that has been opened before says about its picture (FROM_FILE).

    No pixel is decoded. Empty if the file cannot be read any more.
    """
    with _no_warnings():
        try:
            with _opened(source) as file, _identified(file) as image:
                return file_meta(image, _exif(image))
        except (*_DECODER_ERRORS, BadPicture):
            return {}


def _opened(source: str | Path | bytes) -> IO[bytes]:
    if isinstance(source, bytes):
        return BytesIO(source)
    # A named pipe would block for ever, before any check: ask first.
    if not stat.S_ISREG(os.stat(source).st_mode):  # noqa: PTH116 - Path costs more, says no more
        raise BadPicture("not a regular file")
    return open(source, "rb")  # noqa: PTH123 - the caller closes it


def _decode(file: IO[bytes], target: int | None, max_pixels: int) -> Picture:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size == 0:
        raise BadPicture("the file is empty")
    if size > MAX_BYTES:
        raise BadPicture(f"the file has {size / 2**30:.1f} GB; the limit is 2 GB")
    with _identified(file) as image:
        _check_claims(image, file, size, max_pixels)
        pixels = image.width * image.height
        with _large_turn if pixels > _LARGE else nullcontext():
            return _loaded(image, target)


def _loaded(image: ImageFile.ImageFile, target: int | None) -> Picture:
    width, height = image.size
    # Pillow picks the scale for the worse of both sides: a square keeps the short one big enough.
    # A JPEG only: for a HEIC file, draft means its embedded thumbnail.
    drafted = target and image.format in ("JPEG", "MPO")
    if target and drafted:
        image.draft(None, (2 * target, 2 * target))
    _load(image)
    if not drafted:  # icons say their true size, and TIFFs turn upright, only here
        width, height = image.size
    exif = _exif(image)
    turn = orientation(exif)
    if turn >= 5:
        width, height = height, width
    meta: dict[str, MetaValue] = {"width": width, "height": height, "format": image.format}
    upright = to_srgb(image, target=target)
    if turn in _TURNS:
        upright = upright.transpose(_TURNS[turn])
    return Picture(upright, meta | file_meta(image, exif))


def _load(image: ImageFile.ImageFile) -> None:
    try:
        image.load()
    except SyntaxError:
        # An animated PNG whose first frame is complete (no tile is left to decode), and what
        # follows it is in disorder.
        if image.format != "PNG" or not getattr(image, "is_animated", False) or image.tile:
            raise


def _exif(image: Image.Image) -> Image.Exif:
    try:
        return image.getexif()
    except _DECODER_ERRORS:  # garbage in the EXIF is no reason to lose the picture
        return Image.Exif()


def _identified(file: IO[bytes]) -> ImageFile.ImageFile:
    head = file.read(64)
    file.seek(0)
    if _is_heic(head):
        _register_heif()
        return Image.open(file, formats=("HEIF",))
    for magic, reason in _FOREIGN.items():
        if head.startswith(magic):
            raise BadPicture(reason)
    return Image.open(file, formats=_installed_formats())


@cache
def _installed_formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _is_heic(head: bytes) -> bool:
    """Return whether the file's brands say HEIC; AVIF files carry some of the same ones."""
    if head[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(head[:4]), len(head))
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))}
    if brands & _HEIC_BRANDS:
        return True
    return bool(brands & _ANY_HEIF_BRANDS) and not brands & _AVIF_BRANDS


_heif_lock = threading.Lock()


def _register_heif() -> None:
    """Teach Pillow HEIC, on the first such file: the import costs 50 ms.

    Raises:
        BadPicture: pillow-heif is not installed; the message says how to install it.
    """
    with _heif_lock:
        if "HEIF" in Image.OPEN:
            return
        try:
            import pillow_heif
        except ImportError as error:
            raise BadPicture(str(MissingExtra("a HEIC picture", "heic"))) from error
        pillow_heif.register_heif_opener()


def _check_claims(image: Image.Image, file: IO[bytes], size: int, max_pixels: int) -> None:
    """Refuse from the header what would cost too much to decode.

    Raises:
        BadPicture: too many pixels, too many for the file's size, or too many JPEG scans.
    """
    width, height = image.size
    pixels = width * height
    if pixels > max_pixels:
        claim = f"{width} x {height} = {pixels / 1e6:.1f} megapixels"
        raise BadPicture(f"{claim}; the limit is {max_pixels / 1e6:.1f}")
    densest = _DENSEST.get(image.format or "", PLAUSIBLE_PIXELS_PER_BYTE)  # pixels a byte
    if pixels > max(PLAUSIBLE_PIXELS, size * densest):
        raise BadPicture(f"claims {width} x {height} pixels in a file of only {size} bytes")
    if image.format in ("JPEG", "MPO"):
        position = file.tell()
        if _too_many_scans(file):
            raise BadPicture(f"a JPEG of more than {MAX_JPEG_SCANS} scans is refused")
        file.seek(position)


def _too_many_scans(file: IO[bytes]) -> bool:
    """Return whether the first JPEG in the file has more than `MAX_JPEG_SCANS` scans.

    Every scan starts with FF DA, so few of those anywhere means few scans: this quick count
    is all that an honest photo costs. Only a file with many (a phone's attached video has
    them by chance) is walked marker by marker.
    """
    file.seek(0)
    found, tail = 0, b""
    while chunk := file.read(1 << 20):
        found += (tail + chunk).count(b"\xff\xda")
        tail = chunk[-1:]
    if found <= MAX_JPEG_SCANS:
        return False
    file.seek(0)
    return _scans(file.read()) > MAX_JPEG_SCANS


_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # not a stuffed FF, padding or a restart


def _scans(data: bytes) -> int:
    """Return the number of scans of the JPEG that starts the data, up to its end marker."""
    scans, at = 0, 2
    while match := _MARKER.search(data, at):
        kind = data[match.start() + 1]
        if kind == 0xD9:
            break
        scans += kind == 0xDA
        # Every other marker here has a length, itself included; what follows a scan's header
        # is entropy-coded data, where the search finds the next marker.
        length = int.from_bytes(data[match.end() : match.end() + 2])
        at = match.end() + max(length, 2)
    return scans


def _reason(error: BaseException) -> str:
    """Return one short line for a user, without a path."""
    if isinstance(error, UnidentifiedImageError):  # its own text holds the name
        return "not a picture, or of a format that cannot be read"
    if isinstance(error, Image.DecompressionBombError):
        pixels = re.search(r"\((\d+) pixels\)", str(error))
        claim = f"{int(pixels[1]) / 1e6:.1f} megapixels" if pixels else "too many pixels"
        return f"{claim}; the limit is {2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6:.1f}"
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = "".join(letter if letter.isprintable() else " " for letter in str(error))
    return f"damaged or cut short: {text[:100].strip() or type(error).__name__}"


class _OnlyThisThread:
    """Stands where a warning filter has its message pattern: it matches in decoding threads.

    `warnings.catch_warnings` swaps the whole process's filters, so two threads in it can
    leave them changed for good, and a filter by category would silence the host program's
    own use of Pillow as well. The `warnings` module only calls `.match(text)`.
    """

    def __init__(self) -> None:
        self._local = threading.local()

    def match(self, _text: str) -> bool:
        return bool(getattr(self._local, "active", False))

    @contextmanager
    def active(self) -> Iterator[None]:
        self._local.active = True
        try:
            yield
        finally:
            self._local.active = False


_decoding = _OnlyThisThread()
_filter_lock = threading.Lock()
_filter: Any = ("ignore", _decoding, Warning, None, 0)


@contextmanager
def _no_warnings() -> Iterator[None]:
    # Put back each time: whoever used `catch_warnings` since (pytest does) has taken it out.
    with _filter_lock:
        if not warnings.filters or warnings.filters[0] is not _filter:
            if _filter in warnings.filters:
                warnings.filters.remove(_filter)  # type: ignore[attr-defined]
            warnings.filters.insert(0, _filter)  # type: ignore[attr-defined]
    with _decoding.active():
        yield
