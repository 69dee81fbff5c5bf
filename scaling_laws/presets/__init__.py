"""Published measurements as small tables, each with its source and what is uncertain about it."""

from scaling_laws.presets.tables import POINTS, Points, load_points

__all__ = ["POINTS", "Points", "load_points"]
