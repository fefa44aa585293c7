"""Count study 07's original's own evaluations again: repeats, the best without the luck of repeats, and its course.

    python -m benchmarks.original_runs flower17_original_runs.jsonl.gz

prints the parts `original_runs`, `original_courses` and `original_noise` of `jahslib/analysis/reported.json`. The file
holds one line a full evaluation of the nine main runs: method, seed, order, configuration, top3, precision, num_params.
It is not part of the repository. EA and EA-HB trained some configurations many times and kept the best of what came
out, so that their incumbents profit from the noise of training; random search trained each once.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

FLOOR, LIMIT = 0.39, 2e7  # of precision and of parameters, in the main runs


def evaluations(file: Path) -> pd.DataFrame:
    found = pd.read_json(file, lines=True)
    found["key"] = found.configuration.map(lambda values: json.dumps(values, sort_keys=True))
    return found.sort_values(["method", "seed", "order"], ignore_index=True)


def feasible(found: pd.DataFrame) -> pd.Series:
    return (found.precision >= FLOOR) & (found.num_params <= LIMIT)


def runs(found: pd.DataFrame) -> list[dict]:
    rows = []
    for (method, seed), own in found.groupby(["method", "seed"]):
        first = own.drop_duplicates("key")
        means = own.groupby("key")[["top3", "precision", "num_params"]].mean()
        rows.append(
            {
                "method": method,
                "seed": int(seed),
                "evaluations": len(own),
                "repeats": round(1 - len(first) / len(own), 4),
                "most_times": int(own.key.value_counts().max()),
                "feasible": round(float(feasible(own).mean()), 4),
                "best": round(float(own[feasible(own)].top3.max()), 4),
                "best_first": round(float(first[feasible(first)].top3.max()), 4),
                "best_mean": round(float(means[feasible(means)].top3.max()), 4),
            }
        )
    return rows


def courses(found: pd.DataFrame) -> list[dict]:
    """The best feasible top-3 accuracy after so many evaluations, where it changes and at the end."""
    rows = []
    for (method, seed), own in found.groupby(["method", "seed"]):
        best = own.top3.where(feasible(own)).cummax().ffill().to_numpy()
        changed = np.flatnonzero(~np.isnan(best) & (best != np.concatenate([[np.nan], best[:-1]])))
        for at in sorted({*changed.tolist(), len(best) - 1}):
            rows.append({"method": method, "seed": int(seed), "evaluations": at + 1, "top3": round(float(best[at]), 4)})
    return rows


def noise(found: pd.DataFrame) -> float:
    """Standard deviation of the top-3 accuracy of one configuration trained again, pooled over those that were."""
    again = found.groupby(["method", "seed", "key"]).top3.agg(["var", "count"]).query("count > 1")
    return round(float(np.sqrt((again["var"] * (again["count"] - 1)).sum() / (again["count"] - 1).sum())), 4)


def recounted(file: Path) -> dict:
    found = evaluations(file)
    return {"original_runs": runs(found), "original_courses": courses(found), "original_noise": noise(found)}


if __name__ == "__main__":
    for name, part in recounted(Path(sys.argv[1])).items():
        rows = ",\n   ".join(map(json.dumps, part)) if isinstance(part, list) else ""
        print(f'  "{name}":', f"[\n   {rows}\n  ]," if rows else f"{json.dumps(part)},")
