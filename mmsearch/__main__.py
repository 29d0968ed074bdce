"""`python -m mmsearch` is `mmsearch`."""

from mmsearch.cli import run

if __name__ == "__main__":
    run()
