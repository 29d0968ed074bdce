"""`mmsearch regions`: a detector's regions of pictures, for re-rankers and answerers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmsearch.cli import Exit
from mmsearch.cli.evaluate import Progress
from mmsearch.cli.options import is_terminal, note, threads_option
from mmsearch.detecting import BOXES, DETECTORS, load_detector

if TYPE_CHECKING:
    from mmsearch.detecting.recording import RegionReport


@click.command("regions", short_help="Find regions of pictures by a detector, for re-rankers.")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), required=True,
              metavar="DIR", help="Where NAME.npz is written for NAME.jpg.")  # fmt: skip
@click.option("--detector", type=click.Choice(DETECTORS), default=DETECTORS[0], show_default=True,
              help="A Faster R-CNN of torchvision.")  # fmt: skip
@click.option("--weights", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Its state dict (.pth, .safetensors), of any number of classes  [default: "
              "torchvision's, trained on COCO, fetched once].")  # fmt: skip
@click.option("--boxes", type=click.IntRange(1, 1_000), default=BOXES, show_default=True,
              metavar="N", help="Regions of a picture: the N most confident.")  # fmt: skip
@click.option("--split", metavar="NAME", help="Only this split of a table or data set.")
@click.option("--force", is_flag=True, help="Make anew what is there already.")
@click.option("--device", help="cpu, cuda, cuda:N, mps [default: the best there is].")
@click.option("-q", "--quiet", is_flag=True, help="No progress: outcome and warnings only.")
@threads_option
def regions_command(
    sources: tuple[str, ...], out: Path, detector: str, weights: Path | None, boxes: int,
    split: str | None, force: bool, device: str | None, quiet: bool, threads: int | None,
) -> int:  # fmt: skip
    """Find the regions of pictures and their features by a detector (extra: torch).

    \b
    mmsearch regions photos --out regions --weights detector.pth
    mmsearch search "a red tractor" --reranker lxmert:DIR --regions regions

    SOURCE is what `mmsearch index` takes. The features have 1,024 numbers: they are of use to a
    model that was trained on this detector's. LXMERT and UNITER as they were published take
    2,048 of a detector that was trained on Visual Genome, and refuse these. Interrupt it at any
    time and run it again: it goes on. Exits with 5 if pictures could not be read, or have the
    name of another.
    """
    from mmsearch.cores import usable_cores
    from mmsearch.detecting.recording import pictures, write_all
    from mmsearch.readers import read

    # All of it is listed first: a mistyped name costs no model.
    samples = [one for name in sources for one in pictures(read(name, split=split))]
    model = load_detector(
        detector, weights, boxes=boxes, threads=threads, device=device,
        progress=not quiet and is_terminal(),
    )  # fmt: skip
    try:
        with Progress(quiet) as bar:
            report = write_all(
                samples, model, out, force=force, threads=threads or usable_cores(),
                progress=lambda done: bar.show("regions", done.seen, len(samples)),
            )  # fmt: skip
    except OSError as error:
        raise click.UsageError(f"cannot write into {out}: {error.strerror}") from error
    return _say(report)


def _say(report: RegionReport) -> int:
    from mmsearch.uris import printable

    parts = [f"regions of {report.made:,} pictures written"]
    parts += [f"of {report.there:,} they are there"] if report.there else []
    parts += [f"{len(report.skipped):,} failed"] if report.skipped else []
    note(", ".join(parts) if report.seen else "no pictures to look at")
    for skipped in report.skipped:  # all: nothing else knows of them
        note(f"failed: {printable(skipped.key)}: {printable(skipped.reason)}")
    return Exit.SOME_FAILED if report.skipped else Exit.OK
