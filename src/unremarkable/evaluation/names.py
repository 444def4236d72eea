"""What results are called where a person reads them: one table for every page, figure and terminal."""

from __future__ import annotations

#: names in running text, and what the metrics of scores and verdicts mean
_METRICS = {
    "auroc": ("AUROC", "how often an abnormal case scores above a normal one"),
    "auprc": ("AUPRC", "average precision over all thresholds; depends on the share of abnormal cases"),
    "fpr_at_tpr95": ("FPR at 95 % TPR", "share of normal cases flagged where 95 % of the abnormal ones are"),
    "fpr_at_tpr99": ("FPR at 99 % TPR", "share of normal cases flagged where 99 % of the abnormal ones are"),
    "sensitivity_at_specificity95": (
        "sensitivity at 95 % specificity",
        "at a threshold chosen on the very normal cases it is measured on",
    ),
    "sensitivity": ("sensitivity", "share of abnormal cases that were flagged"),
    "specificity": ("specificity", "share of normal cases that were not flagged"),
    "accuracy": ("accuracy", "share of all verdicts that are right"),
    "precision": ("precision (PPV)", "share of flagged cases that are abnormal"),
    "npv": ("NPV", "share of cases not flagged that are normal"),
    "f1": ("F1", "2 TP / (2 TP + FN + FP)"),
    "ppv_at_prevalence": ("PPV at the stated prevalence", "share of flagged cases that would be abnormal there"),
    "npv_at_prevalence": ("NPV at the stated prevalence", "share of cases not flagged that would be normal there"),
}
#: other keys of results whose name in words is not what their words say
_OTHERWISE = {
    "p_value_calibration": "calibration of the p-values",
    "pixel": "localisation: pixels",
    "lesion": "localisation: lesions",
    "localisation": "localisation: how it was measured",
    "alpha": "asked for",
    "p_excess": "p of as many or more",
    "ks_distance": "Kolmogorov distance to uniform p-values",
    "ks_excess": "Kolmogorov distance, too many low p-values alone",
    "brier_of_one_minus_p": "Brier score of 1 − p",
    "froc": "FROC score",
    "ra_detected": "detected by RA's rule",
    "ra_f1": "F1 by RA's rule",
    "perceptual_efficientnet_lite0": "perceptual distance (EfficientNet-Lite0)",
    "lpips_alex": "LPIPS (AlexNet)",
}
#: words that are not written as they are spelt in a key
_WORDS = {
    word.lower(): word
    for word in ("AUROC", "AUPRC", "AUPRO", "AUPIMO", "FROC", "IoU", "Dice", "RA", "F1", "L1", "SSIM", "PSNR")
} | {"fp": "FP per image"}


def name_of(key: str) -> str:
    """A key of a result as running text and the heading of a column call it: "auroc" as "AUROC"."""
    if key in _METRICS:
        return _METRICS[key][0]
    return _OTHERWISE.get(key) or " ".join(_WORDS.get(word, word) for word in key.split("_") if word)


def label(key: str) -> str:
    """The same with a capital, as the name of a row or a heading of its own."""
    words = name_of(key)
    return words[:1].upper() + words[1:]


def meaning(key: str) -> str:
    """What a metric of scores or verdicts says, in one line; empty for other keys."""
    return _METRICS[key][1] if key in _METRICS else ""
