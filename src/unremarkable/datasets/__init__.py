"""Folder, manifest or packed file → cases with labels; leak-free splits; audit; packed cache; simulated slices.

`Case` and `Dataset` live in `case`; `find.find_dataset` makes them of whatever a person points at; `load` and `cache`
turn them into model input; `splits` divides them by patient; `audit` looks them over; `phantom` draws simulated ones.
"""

from unremarkable.datasets.case import ABNORMAL, NORMAL, Case, Dataset

__all__ = ["ABNORMAL", "NORMAL", "Case", "Dataset"]
