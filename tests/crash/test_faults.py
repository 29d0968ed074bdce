"""A small share of the fault suite in every run; the figures are `python -m tests.crash.suite`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash import day, disks, flips, kills, powerloss, readers, tools
from tests.crash.shim import Zygote, why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can be")


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    with Zygote(tmp_path_factory.mktemp("zygote")) as started:
        yield started


def test_a_power_loss_leaves_what_was_acknowledged(zygote: Zygote, tmp_path: Path) -> None:
    assert powerloss.power_losses(zygote, tmp_path, seed=0, states=15) == []


def test_a_power_loss_while_a_store_is_made_leaves_one_that_can_be_made(
    zygote: Zygote, tmp_path: Path
) -> None:
    assert powerloss.power_losses(zygote, tmp_path, seed=2, states=60, steps=1) == []


@pytest.mark.parametrize("name", powerloss.SABOTAGED)
def test_a_sabotaged_store_does_not_survive_power_losses(
    zygote: Zygote, tmp_path: Path, name: str
) -> None:
    how = powerloss.SABOTAGED[name]
    assert powerloss.power_losses(zygote, tmp_path, seed=0, states=15, sabotage=how) != []


def test_kills_at_random_moments_lose_nothing(zygote: Zygote, tmp_path: Path) -> None:
    tally = kills.random_kills(zygote, tmp_path, kills=5)
    assert (tally.kills, tally.faults) == (5, [])


@pytest.mark.slow
def test_kills_at_every_named_point_lose_nothing(zygote: Zygote, tmp_path: Path) -> None:
    tally = kills.named_kills(zygote, tmp_path, each=1)
    assert tally.faults == []
    named = {
        "before sync vectors",
        "after rename index",
        "midway write log",
        "after unlink vectors",
    }
    assert named <= set(tally.points)


def test_a_killed_replacement_leaves_one_of_the_stores_or_says_how_to_mend_it(
    zygote: Zygote, tmp_path: Path
) -> None:
    tally = tools.killed(zygote, tmp_path, each=1, tools=["replace"])
    assert tally.faults == []
    assert tally.cut == 2  # after the first rename and before the second


@pytest.mark.slow
def test_a_killed_repair_restore_or_export_can_be_called_again(
    zygote: Zygote, tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow")
    tally = tools.killed(zygote, tmp_path, each=5)
    assert tally.faults == []
    assert set(tally.kills) == set(tools.TOOLS)


def test_bad_disks_are_reported_and_lose_nothing(zygote: Zygote, tmp_path: Path) -> None:
    tally = disks.bad_disks(zygote, tmp_path, cases=10)
    assert tally.faults == []
    assert tally.met >= 5  # else the errors came too late and nothing was tested


def test_damage_is_found_or_harmless_and_can_be_repaired(tmp_path: Path) -> None:
    tally = flips.damaged(tmp_path, cases=25)
    assert tally.faults == []
    assert tally.repaired > 5


def test_readers_see_one_moment_beside_a_writer(tmp_path: Path) -> None:
    tally = readers.side_by_side(tmp_path, seconds=3)
    assert tally.faults == []
    assert min(tally.commits, tally.snapshots) > 0


def test_rounds_of_work_and_crashes_end_as_the_dict_says(zygote: Zygote, tmp_path: Path) -> None:
    tally = day.live_a_day(zygote, tmp_path, rounds=4)
    assert (tally.rounds, tally.faults) == (4, [])


@pytest.mark.slow
def test_200_rounds_of_work_and_crashes_end_as_the_dict_says(
    zygote: Zygote, tmp_path: Path
) -> None:
    tally = day.live_a_day(zygote, tmp_path, rounds=200)
    assert (tally.rounds, tally.faults) == (200, [])
