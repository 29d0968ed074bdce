"""The command line, and a collection of three pictures."""

from tests.mmsearch.cli.conftest import indexed, mmsearch

__all__ = ["indexed", "mmsearch"]
