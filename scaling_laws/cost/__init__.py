"""What training and serving cost, before any run: shapes, FLOPs, memory, latency, prices.

Stands alone: no fit is needed, and nothing of the statistics is imported.

>>> from scaling_laws import cost
>>> cost.shape("Qwen3-32B").pruned(layers=32).params
17158976512
"""

from .benchmarks import read_guidellm, read_vllm
from .budgets import Budget, budget
from .configs import shape
from .constants import Calibration, calibration
from .fitting_constants import calibrate
from .memory import TrainingMemory
from .planning import planned
from .scenario import Serving
from .serving_costs import ServingCost, serving
from .shapes import Shape
from .tables import Hardware, Price, hardware, hardware_table, peak_flops
from .tracing import Traces, traces
from .trainings import Training, training

__all__ = [
    "Budget",
    "Calibration",
    "Hardware",
    "Price",
    "Serving",
    "ServingCost",
    "Shape",
    "Traces",
    "Training",
    "TrainingMemory",
    "budget",
    "calibrate",
    "calibration",
    "hardware",
    "hardware_table",
    "peak_flops",
    "planned",
    "read_guidellm",
    "read_vllm",
    "serving",
    "shape",
    "traces",
    "training",
]
