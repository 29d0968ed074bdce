"""Plug-ins by name: "module:attribute", imported when asked for, open to third parties."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Generic, TypeVar

from mmsearch.errors import MissingExtra, UnknownName

T = TypeVar("T")


class Registry(Generic[T]):
    """Names of one sort of plug-in.

    Third parties add theirs through the entry-point group `mmsearch.<sort>s`.
    `extras` maps a top-level module that may be absent to the extra that brings it.
    """

    def __init__(self, sort: str, known: dict[str, str], extras: dict[str, str]) -> None:
        self.sort = sort
        self._known = dict(known)
        self._extras = dict(extras)

    def names(self) -> list[str]:
        """Return the built-in names and those of installed third parties, sorted."""
        return sorted({*self._known, *self._installed()})

    def make(self, name: str) -> Callable[..., T]:
        """Return the factory registered under `name`, importing its module now.

        Raises:
            UnknownName: nobody registered it; the message lists and guesses.
            MissingExtra: its module needs a package that an extra brings.
            ImportError: any other import trouble comes out as itself.
        """
        target = self._known.get(name) or self._installed().get(name)
        if target is None:
            raise UnknownName(self.sort, name, self.names())
        module, _, attribute = target.partition(":")
        try:
            factory: Callable[..., T] = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            extra = self._extras.get((error.name or "").partition(".")[0])
            if extra is None:
                raise
            raise MissingExtra(f"{self.sort} {name!r}", extra) from error
        return factory

    def _installed(self) -> dict[str, str]:
        # Imported here: it costs a cold query 30 ms that a built-in name does not need.
        from importlib.metadata import entry_points

        return {e.name: e.value for e in entry_points(group=f"mmsearch.{self.sort}s")}
