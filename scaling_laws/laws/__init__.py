"""The laws: each a small class that reads like its formula."""

from scaling_laws.laws.base import Axis, Law, Param, from_function
from scaling_laws.laws.classic import Chinchilla
from scaling_laws.laws.compression import Collapse, Plateau
from scaling_laws.laws.joint import Compressed
from scaling_laws.laws.learning import Power, Rectified

__all__ = [
    "Axis",
    "Chinchilla",
    "Collapse",
    "Compressed",
    "Law",
    "Param",
    "Plateau",
    "Power",
    "Rectified",
    "from_function",
]
