"""Published laws and measurements as data, each with its source and what is uncertain about it.

``sl.presets`` is this module and a mapping at once: ``sl.presets["chinchilla/besiroglu-2024"]``.
"""

import sys
from types import ModuleType

from scaling_laws.presets.catalogue import Presets, presets
from scaling_laws.presets.crossing import Crossover
from scaling_laws.presets.preset import Preset
from scaling_laws.presets.tables import POINTS, Points, load_points

__all__ = ["POINTS", "Crossover", "Points", "Preset", "Presets", "load_points", "presets"]


class _Module(Presets, ModuleType):
    """A module that can be looked up in: the room and the mapping bear one name."""


sys.modules[__name__].__class__ = _Module
