"""The weights that torchvision publishes for its detectors, trained on COCO: in torch's cache, or
fetched into it once."""

from __future__ import annotations

import hashlib
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse

import torch
from torchvision.models import get_model_weights

from mmsearch.errors import ModelUnavailable


def published_weights(name: str, *, progress: bool) -> Path:
    """Return the file of a detector's published weights.

    Args:
        name: torchvision's, of the detector.
        progress: show the fetching on stderr.

    Raises:
        ModelUnavailable: they are not in torch's cache and cannot be fetched, or the file there
            is not the published one.
    """
    url = _url(name)
    file = Path(torch.hub.get_dir()) / "checkpoints" / PurePosixPath(urlparse(url).path).name
    if not file.is_file():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(file), _digits(name), progress=progress)
        except (OSError, HTTPException, RuntimeError) as error:  # no network; damaged on its way
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise ModelUnavailable(
                f"the weights of {name} are not in {file.parent} and cannot be fetched "
                f"({reason[0]}): put {url} there, or give a file of weights by --weights"
            ) from error
    if not is_published(file, name):
        raise ModelUnavailable(f"{file} is damaged (its SHA-256 is not {_digits(name)}...)")
    return file


def is_published(file: Path, name: str) -> bool:
    """Return whether a file is, byte by byte, that of a detector's published weights."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest().startswith(_digits(name))


def _url(name: str) -> str:
    return str(get_model_weights(name).DEFAULT.url)


def _digits(name: str) -> str:
    """Return the first digits of the file's SHA-256, with which its name ends."""
    return PurePosixPath(urlparse(_url(name)).path).stem.rpartition("-")[2]
