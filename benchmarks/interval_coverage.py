"""Do the 95 % intervals hold the truth 95 % of the time? Samples drawn from a known population, many times over.

Scores of normal and abnormal images are normal with equal variances, half of it the patient's own where a patient has
several images, so the AUROC is known, and the AUPRC by integration. Each sample gets its intervals as any evaluation
would, over whole patients; counted is how often they hold the truth, and to which side they miss it.

python benchmarks/interval_coverage.py [--seeds 3] [--sets 2000] [--replicates 500] [--record]
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy.integrate import quad
from scipy.stats import norm

from record import markdown, parser, publish
from unremarkable.evaluation.intervals import bootstrap

PER_CLASS = (20, 50, 100)
#: images of each patient, and AUROC in the population
POPULATIONS = ((3, 0.85), (1, 0.95))
METRICS = ("auroc", "auprc")


def population_auprc(shift: float) -> float:
    """Average precision in a population of two unit normals `shift` apart, half of it abnormal."""

    def precision_gained(threshold: float) -> float:
        true, false = norm.sf(threshold - shift), norm.sf(threshold)
        return float(true / (true + false) * norm.pdf(threshold - shift))

    return float(quad(precision_gained, -12, 12 + shift, limit=200)[0])


def misses(per_class: int, images: int, shift: float, sets: int, replicates: int, seed: int) -> dict[str, np.ndarray]:
    """For each metric, how many of the intervals `(sets,)` lie above the truth, below it, and are none at all."""
    truth = {"auroc": float(norm.cdf(shift / 2**0.5)), "auprc": population_auprc(shift)}
    patients = np.repeat(np.arange(2 * per_class), images)
    labels = np.repeat([0, 1], per_class * images)
    groups = [str(patient) for patient in patients]
    rng = np.random.default_rng([seed, per_class, images, round(1000 * shift)])
    counts = {metric: np.zeros(3, dtype=int) for metric in METRICS}
    for number in range(sets):
        own, each = rng.normal(size=2 * per_class)[patients], rng.normal(size=len(labels))
        scores = ((own + each) / 2**0.5 if images > 1 else each) + shift * labels
        found = bootstrap(scores, labels, groups, replicates=replicates, seed=number)
        for metric in METRICS:
            low, high = found[metric].low, found[metric].high
            if low is None or high is None:
                counts[metric][2] += 1
            else:
                counts[metric] += (low > truth[metric], high < truth[metric], 0)
    return counts


def main() -> None:
    """Draw, bound, count."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--sets", type=int, default=2000)
    arguments.add_argument("--replicates", type=int, default=500)
    chosen = arguments.parse_args()
    rows = []
    for images, auroc in POPULATIONS:
        shift = float(norm.ppf(auroc) * 2**0.5)
        for per_class in PER_CLASS:
            runs = [
                misses(per_class, images, shift, chosen.sets, chosen.replicates, seed) for seed in range(chosen.seeds)
            ]
            for metric, truth in (("auroc", auroc), ("auprc", population_auprc(shift))):
                above, below, none = np.sum([run[metric] for run in runs], axis=0) / (chosen.sets * chosen.seeds)
                held = [1 - run[metric].sum() / chosen.sets for run in runs]
                rows.append(
                    (
                        metric.upper(),
                        f"{truth:.3f}",
                        f"{per_class} + {per_class}, {images} {'image' if images == 1 else 'images'} each",
                        f"{np.mean(held):.1%}",
                        ", ".join(f"{one:.1%}" for one in held),
                        f"{above:.1%}",
                        f"{below:.1%}",
                        f"{none:.1%}",
                    )
                )
                print(*rows[-1], sep=" | ", flush=True)
    error = 1.96 * (0.95 * 0.05 / (chosen.sets * chosen.seeds)) ** 0.5
    text = (
        f"{chosen.seeds} seeds × {chosen.sets:,} samples each, {chosen.replicates:,} resamples an interval, 95 % asked"
        f" for. Of intervals that hold the truth 95 % of the time, the share found lies within ± {error:.1%} of that in"
        " 95 % of such simulations. AUPRC is average precision in a population that is half abnormal."
    )
    header = ("metric", "truth", "normal + abnormal patients", "held", "seed by seed", "too high", "too low", "none")
    publish("interval-coverage", f"{text}\n\n{markdown(header, rows)}", record=chosen.record)


if __name__ == "__main__":
    main()
