"""The command line, for the tests of a head."""

from tests.mmsearch.cli.conftest import mmsearch

__all__ = ["mmsearch"]
