"""From anomaly map to verdict: map → score → p-value → flagged or not, all on plain numpy.

`reduction` turns a map into one score, `calibration` turns scores into p-values and a verdict from held-out normals
alone, `thresholds` chooses operating points on labelled data and records which labels it used, `heatmap` draws a map
over its image.
"""

from __future__ import annotations

from unremarkable.scoring.calibration import Calibration
from unremarkable.scoring.thresholds import ThresholdChoice

__all__ = ["Calibration", "ThresholdChoice"]
