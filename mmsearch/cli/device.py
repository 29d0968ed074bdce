"""`--device` of commands that search: where the model runs and the vectors are looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mmsearch.cli.options import note

if TYPE_CHECKING:
    from index_store import Collection

F = TypeVar("F", bound=Callable[..., Any])


def scan_device_option(command: F) -> F:
    """Add --device; the command gets it as `device`."""
    return click.option(
        "--device",
        metavar="NAME",
        help="Look at every vector on cpu, cuda, cuda:N or mps, by torch, without an index: for "
        "many queries and a GPU (extra: torch)  [default: the index, on the CPU].",
    )(command)


def scan_on(collection: Collection, device: str | None) -> None:
    """Let the collection be searched on that device; None: as usual.

    Raises:
        MissingExtra: torch is not installed.
        ModelUnavailable: no such device.
    """
    if device is None:
        return
    try:
        from mmsearch.torch_scan import TorchScan
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        from mmsearch.errors import MissingExtra

        raise MissingExtra("searching by torch", "torch") from error
    collection.scan_with(TorchScan(device, warn=note))
