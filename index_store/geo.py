"""Distances on the globe, for filters."""

from __future__ import annotations

import math

EARTH_KM = 6371.0088  # mean radius; the earth's flattening changes distances by up to 0.5 %


def great_circle_km(lat_a: float, lon_a: float, lat_b: float, lon_b: float) -> float:
    """Return the distance of two places in kilometres along the globe; degrees in."""
    # Haversine; R. W. Sinnott, Virtues of the Haversine, Sky and Telescope 68 (1984) 159.
    a, b = math.radians(lat_a), math.radians(lat_b)
    east = math.radians(lon_b - lon_a)
    h = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(east / 2) ** 2
    return 2 * EARTH_KM * math.asin(min(1.0, math.sqrt(h)))


def box_around(
    lat: float, lon: float, km: float
) -> tuple[tuple[float, float], list[tuple[float, float]]]:
    """Return (south, north) and the ranges (west, east) that hold the circle; two of these
    where it crosses the 180th meridian, all longitudes where it holds a pole.
    """
    # J. P. Matuschek, Finding Points Within a Distance of a Latitude/Longitude Using Bounding
    # Coordinates, eq. for the meridians that touch the circle. A millimetre is added all round.
    angle = min((km + 1e-6) / EARTH_KM, math.pi)
    south, north = lat - math.degrees(angle), lat + math.degrees(angle)
    if south <= -90 or north >= 90:
        return (south, north), [(-180.0, 180.0)]
    half = math.degrees(math.asin(math.sin(angle) / math.cos(math.radians(lat))))
    west, east = lon - half, lon + half
    if west < -180:
        return (south, north), [(west + 360, 180.0), (-180.0, east)]
    if east > 180:
        return (south, north), [(west, 180.0), (-180.0, east - 360)]
    return (south, north), [(west, east)]
