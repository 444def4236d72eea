"""How good a detector is: metrics with patient-clustered intervals, curves, and one `Evaluation` that holds them.

Reads scores and labels, and knows no method by name.
"""

from __future__ import annotations

from unremarkable.evaluation.evaluation import Evaluation, evaluate
from unremarkable.evaluation.intervals import Interval

__all__ = ["Evaluation", "Interval", "evaluate"]
