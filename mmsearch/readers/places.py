"""Where the pictures of a data set lie, when not beside its file."""

from __future__ import annotations

from pathlib import Path

from mmsearch.readers.samples import Places

# As the usual archives unpack.
FOLDERS = (
    "images", "Images", "train2014", "val2014", "test2014", "test2015", "train2017", "val2017",
    "test2017", "VG_100K", "VG_100K_2", "flickr30k-images", "flickr30k_images", "Flicker8k_Dataset",
    "Flickr8k_Dataset",
)  # fmt: skip


def places(path: str) -> Places:
    """Return where to look for the pictures of a data set's file.

    In its own folder and the one above (annotations/captions_val2014.json), there in each of
    FOLDERS, and in each of FOLDERS within "images".
    """
    folder = Path(path).resolve().parent
    near = (folder, folder.parent)
    others = [str(f / name) for f in near for name in ("", *FOLDERS)]
    others += [str(f / "images" / name) for f in near for name in FOLDERS]
    return Places(str(folder), others[1:])
