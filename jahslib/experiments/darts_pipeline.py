"""The pipeline of study 05: DARTS, a search for stacks of cells sampled from what it found, and final networks.

The stacks' incumbent is retrained, tested and kept.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jahslib.core.optimizer import Listed
from jahslib.core.problem import Problem
from jahslib.core.trials import Trial
from jahslib.errors import UserError, bounded
from jahslib.experiments.study import Study
from jahslib.extras import extra
from jahslib.models.darts.stacking import most_probable_cell, sample_cells, to_text
from jahslib.optimizers.hyperband import Eta
from jahslib.problems.darts import ablation
from jahslib.problems.darts.ablation import ARMS, Arm
from jahslib.problems.darts.cell_search import CellSearch, CellsFound
from jahslib.problems.darts.stacked_cells import Levels, StackedCells
from jahslib.search import logfiles, triallog
from jahslib.search.runs import AnySearch, Run
from jahslib.spaces import configurations as spaces

with extra("training"):
    from torch import Tensor

FINAL_SEED = 1000  # added to a search's seed for its final trainings, which see the same images

Stacks = AnySearch[StackedCells]


# Cells --------------------------------------------------------------------------------------------------------------


def once(problem: Problem, seed: int) -> Listed:
    """Build the optimizer of a problem with nothing to choose."""
    return Listed(problem, seed, [{}])


def with_and_without(search: CellSearch) -> dict[str, CellSearch]:
    """Derive two DARTS searches without early stopping: `prevented` and `plain`, with and without skip prevention."""
    whole = replace(search.settings, apply_early_stopping=False, stable_epochs=None)
    plain = replace(whole, surrogate_schedule="none")
    return {"prevented": replace(search, settings=whole), "plain": replace(search, settings=plain)}


def run_cells(study: Study, plan: Sequence[Run]) -> list[CellsFound]:
    """Run or resume DARTS searches; one cut off by a smaller time limit continues from its checkpoint.

    Raises:
        UserError: a search failed, or left no time for the one after it.
    """
    s = study.settings
    if s.fresh:
        for run in plan:
            for old in left_behind(run):
                old.unlink(missing_ok=True)
    longer = [run for run in plan if not s.fresh and _may_go_on(run)]
    if longer:
        study.histories(longer, fresh=True)
    histories = study.histories(plan)
    for run in plan:
        (trial,), limit = histories[run.log.stem], run.budget.seconds
        if trial.status == "failed":
            raise UserError(f"{run.log.stem}: {trial.reason}; change `search` (a smaller rate?) and start over")
        if limit is not None and trial.outputs["seconds"] >= limit:
            raise UserError(f"runtime: DARTS took all of its {limit:g} s; give more, or fewer epochs in `search`")
    return logged_cells(plan)


def logged_cells(plan: Sequence[Run]) -> list[CellsFound]:
    """Read from their logs the planned DARTS searches that ended in time for another search."""
    found = []
    for run in plan:
        assert isinstance(run.problem, CellSearch)
        for trial in triallog.read(run.log).trials if logfiles.exists(run.log) else ():
            spent = trial.outputs.get("seconds", 0.0)
            if trial.status in ("ok", "cut") and (run.budget.seconds is None or spent < run.budget.seconds):
                found.append(CellsFound(run.task, run.seed, run.problem, trial))
    return found


def _may_go_on(run: Run) -> bool:
    """Tell whether a search was cut off by a smaller time limit than now. By its log alone it has had its one trial."""
    logged = triallog.read(run.log) if logfiles.exists(run.log) else None
    if logged is None or not logged.trials or logged.trials[-1].status != "cut" or logged.end is None:
        return False
    had, has = logged.end["budget"]["seconds"], run.budget.seconds
    return had is not None and (has is None or has > had)


def left_behind(run: Run) -> list[Path]:
    """List checkpoint and table of an earlier search, which starting over must not continue."""
    assert isinstance(run.problem, CellSearch)
    seed = int(np.random.SeedSequence([run.seed, 0]).generate_state(1)[0])  # the search loop's, of its first trial
    path = run.problem.checkpoint(seed)
    return [] if path is None else [path, path.with_suffix(".csv")]


def levels(p: Tensor, seed: int, *, max_cells: int, candidates: int, how: str = "sampled") -> Levels:
    """Choose cells for each of `max_cells` levels of a stack, from `6 x 5` probabilities.

    Args:
        candidates: different cells to choose from at a level. They are drawn with the same random numbers whatever the
            probabilities, so that cells differ where these do.
        how: "argmax" for the most probable cell at every level; anything else samples.
    """
    if how == "argmax":
        return ((to_text(most_probable_cell(p)),),) * max_cells
    sampled = sample_cells(p, np.random.default_rng([seed, 5]), levels=max_cells, candidates=candidates)
    return tuple(tuple(map(to_text, level)) for level in sampled)


# Stacks -------------------------------------------------------------------------------------------------------------


def hyperband_trials(total: float, low: float, high: float, eta: int) -> int:
    """Compute the trials of `low` to `high` epochs that Hyperband affords with `total` epochs, as SMAC counts them.

    Raises:
        UserError: not 1 <= low <= high <= total; no `Eta`.
    """
    with extra("smac"):
        from smac.intensifier.hyperband_utils import get_n_trials_for_hyperband_multifidelity as count

    if not 1 <= low <= high <= total:
        raise UserError(
            f"budgets: min_budget {low:g}, max_budget {high:g}, total_budget {total:g}; "
            "give 1 <= min_budget <= max_budget <= total_budget epochs"
        )
    return count(total, low, high, eta=bounded("budgets: eta", eta, Eta), print_summary=False)


def retrain_and_keep(study: Study, searches: Sequence[Stacks], count: int) -> list[Stacks]:
    """Retrain each incumbent, and test it; return the searches with `tests`.

    Networks are kept in the study's folder `models`, one folder each, for `problems.darts.stack_training.load_stack`.
    """
    tested = []
    for s in searches:
        folder = study.folder / "models" / f"{s.name}-{spaces.digest(s.incumbent.configuration)}"
        tested.append(replace(s, tested=replace(s.problem, split="test", keep=folder)))
    return study.retrain(tested, count, seed=FINAL_SEED)


# Ablation -----------------------------------------------------------------------------------------------------------


def run_ablation(
    study: Study,
    variants: Sequence[CellsFound],
    stacked: Callable[..., StackedCells],
    network: Mapping[str, Any],
    recipe: Mapping[str, Any],
    count: int,
    params: float,
) -> dict[tuple[Arm, int], list[Trial]]:
    """Train and test `count` networks of each arm and seed; arms whose cells agree share their trainings.

    Args:
        stacked: builds the problem that trains and tests them, called with `cells`.
        network, recipe: see `jahslib.problems.darts.ablation.configurations`.
        params: parameters of every network, as nearly as whole channels allow; see `ablation.resized`.
    """
    searched = {(found.task, found.seed): found for found in variants}
    names: dict[tuple[Arm, int], str] = {}
    runs: dict[str, Run] = {}
    for seed in dict.fromkeys(found.seed for found in variants):
        for arm in ARMS:
            p = arm.probabilities(searched.get((arm.variant, seed)))
            depth = len(network["out_channels"])
            cells = levels(p, seed, max_cells=depth, candidates=count, how=arm.source)
            problem, shaped = stacked(cells=cells), ablation.configurations(network, recipe, cells, count)
            wanted = [ablation.resized(problem, c, params) for c in shaped]
            name = f"probe-{problem.data}-seed{seed}-{spaces.digest({'all': wanted})}"
            names[arm, seed] = name
            if name not in runs:
                runs[name] = study.trainings(problem, wanted, name, method="probe", seed=seed)
    trials = study.train(runs)
    return {key: trials[name] for key, name in names.items()}
