"""The version, alone in a file: the build and `mmsearch --version` read it without imports."""

__version__ = "0.1.0"
