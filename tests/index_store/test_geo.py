"""Distances on the globe, against known ones, and the box against the exact check."""

from __future__ import annotations

import random

import pytest

from index_store import Collection, Item, Near
from index_store.errors import BadFilter
from index_store.geo import box_around, great_circle_km
from tests.index_store.conftest import one_hot


def test_distances_are_those_of_the_atlas() -> None:
    assert great_circle_km(48.8566, 2.3522, 51.5074, -0.1278) == pytest.approx(343.6, abs=0.5)
    assert great_circle_km(0, 179.5, 0, -179.5) == pytest.approx(111.2, abs=0.1)
    assert great_circle_km(90, 0, -90, 77) == pytest.approx(20_015, abs=1)
    assert great_circle_km(10, 20, 10, 20) == 0


def test_no_place_within_the_circle_lies_outside_the_box() -> None:
    chance = random.Random(5)
    inside = 0
    for _ in range(20_000):
        lat, lon = chance.uniform(-90, 90), chance.uniform(-180, 180)
        km = 10 ** chance.uniform(-1, 4.3)
        here = chance.uniform(-90, 90), chance.uniform(-180, 180)
        if chance.random() < 0.5:  # close by, where the border is
            here = (max(-90, min(90, lat + chance.gauss(0, km / 150))),
                    (lon + chance.gauss(0, km / 100) + 180) % 360 - 180)  # fmt: skip
        (south, north), ranges = box_around(lat, lon, km)
        if great_circle_km(lat, lon, *here) <= km:
            inside += 1
            assert south <= here[0] <= north, (lat, lon, km, here)
            assert any(west <= here[1] <= east for west, east in ranges), (lat, lon, km, here)
    assert inside > 3_000


PLACES = {"eiffel": (48.8584, 2.2945), "louvre": (48.8606, 2.3376), "london": (51.5, -0.12),
          "fiji": (-17.7, 178.0), "samoa": (-13.8, -171.8), "pole": (89.99, -120.0)}  # fmt: skip


@pytest.mark.parametrize(
    ("near", "expected"),
    [
        (Near(48.8584, 2.2945, 0), {"eiffel"}),
        (Near(48.8584, 2.2945, 3.1), {"eiffel"}),  # the Louvre, 3.16 km away, is in the box
        (Near(48.8584, 2.2945, 3.2), {"eiffel", "louvre"}),
        (Near(48.8584, 2.2945, 400), {"eiffel", "louvre", "london"}),
        (Near(-16, -179, 1000), {"fiji", "samoa"}),
        (Near(89.9, 60, 50), {"pole"}),
        (Near(0, 0, 25_000), set(PLACES)),
    ],
)
def test_near_is_a_circle_on_the_globe(
    collection: Collection, near: Near, expected: set[str]
) -> None:
    items = [Item(n, meta={"lat": lat, "lon": lon}) for n, (lat, lon) in PLACES.items()]
    items += [Item("nowhere"), Item("odd", meta={"lat": "north", "lon": 2.29})]
    collection.add(items, one_hot(*range(len(items))))
    assert set(collection.keys(near)) == expected
    assert collection.count(where=near) == len(expected)


@pytest.mark.parametrize("place", [(91, 0, 1), (0, 181, 1), (0, 0, -1), (float("nan"), 0, 1)])
def test_no_place_on_the_globe_is_refused(place: tuple[float, float, float]) -> None:
    with pytest.raises(BadFilter, match="no place"):
        Near(*place)
