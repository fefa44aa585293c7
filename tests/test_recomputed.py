"""README's numbers, computed a second time from the raw logs with pandas alone: no line of the library takes part."""

import json
import lzma
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

import pandas as pd
import pytest

from tests.test_readme import CLAIMS

CPU = Path(__file__).parents[1] / "results" / "cpu"


def logged(notebook: str, pattern: str) -> pd.DataFrame:
    """All trials of the logs of a name, their metrics as columns, with the log's name.

    They lie one after another in packs, whose first line says how long each is.
    """
    rows = []
    for pack in sorted((CPU / notebook / "logs").glob("*.jsonl.xz")):
        with lzma.open(pack) as file:
            for log, length in json.loads(file.readline())["logs"].items():
                lines = file.read(length).splitlines()
                if fnmatch(log, pattern):
                    rows += [json.loads(line) | {"log": log} for line in lines if line.startswith(b'{"kind": "trial"')]
    trials = pd.DataFrame(rows).sort_values("log", kind="stable", ignore_index=True)
    return trials.join(pd.json_normalize(trials.metrics.tolist()))


def final_trainings(notebook: str, metric: str, first: str, second: str) -> pd.Series:
    """By seed: the mean of the final trainings of each method's incumbent, and their difference."""
    means = [logged(notebook, f"test-{name}").groupby("seed")[metric].mean() for name in (first, second)]
    return (means[0] - means[1]).dropna()


def runs(metric: str, first: str, second: str) -> pd.Series:
    """Training by training."""
    notebook = "02_growing_thresholds"
    values = [logged(notebook, f"test-{name}-????????")[metric] for name in (first, second)]
    return values[0] - values[1]


def chosen_cells(first: str, second: str) -> pd.Series:
    """By seed: how much lower the test error of the cell of the lowest validation error is."""
    errors = []
    for method in (first, second):
        trials = logged("03_grammar_search", f"table-{method}-cifar10-seed*")
        best = trials.sort_values(["val_error", "id"]).drop_duplicates("seed")
        errors.append(best.set_index("seed").test_error)
    return (errors[1] - errors[0]).dropna()


def correlations(n_train: int) -> pd.Series:
    fits = logged("04_surrogate_regression", "regression-nb201_fashion_mnist-hierarchical-random-*-seed*")
    setting = pd.json_normalize(fits.configuration.tolist())
    tau = fits[setting.n_train == n_train].assign(model=setting.model).pivot(index="seed", columns="model")["kendall"]
    return tau.gp_hierarchical - tau.gp


def regrets(method: str) -> pd.Series:
    """By task of LCBench, mean over seeds: how far the best full training is from the best point known."""
    references = json.loads((CPU.parents[1] / "jahslib" / "problems" / "lcbench_references.json").read_text())
    full = logged("08_head_to_head", f"lcbench-*-{method}-seed*").query("fidelity == 52 and status == 'ok'")
    best = full.assign(task=full.log.str.split("-").str[1]).groupby(["task", "seed"]).val_accuracy.max().unstack("seed")
    of = pd.DataFrame(references).T.loc[best.index]
    return best.rsub(of.best, axis=0).div(of.best - of.worst, axis=0).mean(axis=1)


DIFFERENCES: dict[str, Callable[[], pd.Series]] = {
    "01_growing_bohb": lambda: final_trainings("01_growing_bohb", "top1", "bohb-*", "static-*"),
    "02_growing_thresholds": lambda: runs("top1", "bohb_growing", "baseline"),
    "03_grammar_search": lambda: chosen_cells("gp", "regularized_evolution"),
    "04_surrogate_regression": lambda: correlations(10),
    "05_darts_bohb": lambda: final_trainings("05_darts_bohb", "top1", "bohb-*", "uniform-*"),
    "06_ax_bo": lambda: final_trainings("06_ax_bo", "top1", "ax-mnist-*", "rs-mnist-*"),
    "07_constrained_EA": lambda: final_trainings("07_constrained_EA", "top3", "ea_hb-seed*", "rs-*"),
    "08_head_to_head": lambda: regrets("dehb") - regrets("ea_hb"),
}


@pytest.mark.parametrize("notebook", CLAIMS)
def test_a_claim_is_what_the_raw_logs_say(notebook):
    table = pd.read_csv(CPU / notebook / "claims.csv").set_index("claim").loc[CLAIMS[notebook]]
    differences = DIFFERENCES[notebook]()
    assert len(differences) == table.n
    assert (differences > 1e-12).sum() == table.above
    assert differences.mean() == pytest.approx(table.difference, abs=1e-5)
    resampled = differences.sample(len(differences) * 20_000, replace=True, random_state=0).to_numpy()
    means = pd.Series(resampled.reshape(20_000, -1).mean(axis=1))
    width = max(table.high - table.low, 1e-3)
    assert [means.quantile(0.025), means.quantile(0.975)] == pytest.approx([table.low, table.high], abs=0.12 * width)
