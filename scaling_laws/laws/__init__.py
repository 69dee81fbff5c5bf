"""The laws: each a small class that reads like its formula."""

from scaling_laws.laws.base import Axis, Law, Param, from_function
from scaling_laws.laws.breaks import Bounded, Broken
from scaling_laws.laws.classic import Chinchilla, Kaplan, Repeated
from scaling_laws.laws.compression import Collapse, Plateau
from scaling_laws.laws.distillation import Distilled, Supervised
from scaling_laws.laws.finetuning import FineTuning, LossToError, Transferred
from scaling_laws.laws.forgetting import Forgetting
from scaling_laws.laws.joint import Compressed
from scaling_laws.laws.learning import Power, Rectified
from scaling_laws.laws.pruning import P2, Pruning, Sparsity

__all__ = [
    "Axis",
    "Bounded",
    "Broken",
    "Chinchilla",
    "Collapse",
    "Compressed",
    "Distilled",
    "FineTuning",
    "Forgetting",
    "Kaplan",
    "Law",
    "LossToError",
    "P2",
    "Param",
    "Plateau",
    "Power",
    "Pruning",
    "Rectified",
    "Repeated",
    "Sparsity",
    "Supervised",
    "Transferred",
    "from_function",
]
