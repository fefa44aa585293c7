"""Study 05: which searches are run, on what, and where their logs stand. Notebook 05_darts_bohb tells the story.

One pipeline of one seed: DARTS finds how probable each operation is at each node, cells are sampled from that, and BOHB
finds how to stack and train them in the time that is left; its incumbent is trained anew and tested once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

from jahslib import paths
from jahslib.core.optimizer import Listed, Optimizer
from jahslib.core.trials import Configuration, History, Trial
from jahslib.data import registry
from jahslib.errors import UserError
from jahslib.models.darts.stacking import most_probable_cell, sample_cells, to_text, uniform_probabilities
from jahslib.optimizers.hyperband import checked_eta
from jahslib.optimizers.random_search import RandomSearch
from jahslib.optimizers.smac_bohb import SmacBohb
from jahslib.problems.darts.cell_search import CellSearch, epochs_until_stop, probabilities
from jahslib.problems.darts.search import Settings
from jahslib.problems.darts.stacked_cells import Levels, StackedCells
from jahslib.search import Budget, triallog
from jahslib.search.runs import AnySearch, Run, retraining, run_all, run_trials, trainings
from jahslib.spaces import configurations as spaces
from jahslib.studies.darts_bohb_options import METHODS as METHODS  # the notebook's, under the study's name
from jahslib.studies.darts_bohb_options import NOTEBOOK, PROBE, VARIANTS, Options, network, read_settings, settings
from jahslib.studies.darts_bohb_options import options as options

Search = AnySearch[StackedCells]

FINAL_SEED = 1000  # added to a search's seed for its final trainings, which see the same images


def check(o: Options) -> None:
    """See `jahslib.studies.check`."""
    loaded = registry.load(o.dataset)
    registry.load(o.dataset, "test")
    for name, found in (("num_classes", loaded.classes), ("num_img_channels", loaded.images.shape[1])):
        if getattr(o, name) not in (None, found):
            raise UserError(f"{name}: {getattr(o, name)}, but {o.dataset} has {found}; leave it out")
    runs = [*cell_searches(o).values(), *variant_searches(o).values(), *collapse_searches(o).values()]
    for run in runs:
        assert isinstance(run.problem, CellSearch)
        run.problem.check()
        run.check(fresh=o.fresh)
    _n_trials(o)
    task = problem(o, levels(uniform_probabilities(), 0, o))
    task.images(0)
    for method in o.methods:
        optimizer(o, method, task, o.seeds[0])
    space = task.space  # refuses impossible widths
    for name, value in o.probe.items():
        if name not in space or not space[name].legal_value(value):
            raise UserError(f"probe: {name}={value!r} is no setting of a stack of cells")


def folder(o: Options) -> Path:
    """Where the study's trial logs, checkpoints and final networks stand."""
    place = Path(o.working_dir).absolute() if o.working_dir else paths.results(o.profile, NOTEBOOK)
    return place / o.name if o.name else place


# Cells --------------------------------------------------------------------------------------------------------------


def cell_search(o: Options, chosen: Settings) -> CellSearch:
    """The problem of a DARTS search with these settings, on the study's data."""
    return CellSearch(
        data=o.dataset,
        settings=chosen,
        network=network(o.model),
        surrogate=o.surrogate,
        arch_images=o.arch_images,
        per_class=o.per_class,
        augment=o.augment,
        checkpoint_freq=o.checkpoint_freq,
        save_arch_weights=o.save_arch_weights,
        place=folder(o) / "darts",
        device=o.device,
    )


def _cell_run(o: Options, task: CellSearch, name: str, seed: int, seconds: float | None = None) -> Run:
    return Run(
        problem=task,
        optimizer=Listed(task, seed, [{}]),
        budget=Budget(trials=1, seconds=seconds),
        log=folder(o) / "logs" / f"{name}-seed{seed}.jsonl",
        seed=seed,
        method="darts",
        study=NOTEBOOK,
        profile=o.profile,
    )


def cell_searches(o: Options) -> dict[int, Run]:
    """The pipeline's first phase, by seed."""
    task = cell_search(o, settings(o))
    return {seed: _cell_run(o, task, f"darts-{o.dataset}", seed, o.runtime) for seed in o.seeds}


def variant_searches(o: Options) -> dict[tuple[str, int], Run]:
    """DARTS with and without skip prevention, never stopped early, by (variant, seed): the ablation's searches."""
    runs = {}
    for variant in VARIANTS:
        task = cell_search(o, _variant(settings(replace(o, skip_prevention=True)), variant))
        for seed in o.seeds:
            runs[variant, seed] = _cell_run(o, task, f"darts_{variant}-{o.dataset}", seed)
    return runs


def _variant(chosen: Settings, variant: str) -> Settings:
    chosen = replace(chosen, apply_early_stopping=False, stable_epochs=None)
    return replace(chosen, surrogate_schedule="none") if variant == "plain" else chosen


def collapse_searches(o: Options) -> dict[tuple[str, int], Run]:
    """DARTS with and without skip prevention on a data set of its own, by (variant, seed)."""
    c = dict(o.collapse)
    dataset, per_class = c.pop("dataset", o.dataset), c.pop("per_class", None)
    shape, augment = {**o.model, **c.pop("model", {})}, c.pop("augment", False)
    chosen = read_settings("collapse", {**o.search, **c})
    runs = {}
    for variant in VARIANTS:
        task = replace(
            cell_search(o, _variant(chosen, variant)),
            data=dataset,
            per_class=per_class,
            network=network(shape),
            augment=augment,
        )
        for seed in o.seeds:
            runs[variant, seed] = _cell_run(o, task, f"collapse_{variant}-{dataset}", seed)
    return runs


AnyKey = TypeVar("AnyKey", int, tuple[str, int])


def run_cells(o: Options, runs: Mapping[AnyKey, Run]) -> dict[AnyKey, Trial]:
    """Run or resume DARTS searches; the trial of each, one cut off by `runtime` too.

    Raises:
        UserError: a search failed.
    """
    if o.fresh:
        for run in runs.values():
            for old in _left_behind(run):
                old.unlink(missing_ok=True)
    longer = [run for run in runs.values() if not o.fresh and _may_go_on(run)]
    if longer:
        run_all(longer, workers=o.workers, scheduler=o.scheduler, fresh=True)  # from their checkpoints
    histories = run_all(runs.values(), workers=o.workers, scheduler=o.scheduler, fresh=o.fresh)
    found = {}
    for key, run in runs.items():
        (found[key],) = histories[run.log.stem]
        if found[key].status == "failed":
            raise UserError(f"{run.log.stem}: {found[key].reason}; change `search` (a smaller rate?) and start over")
    return found


def _may_go_on(run: Run) -> bool:
    """Whether a search was cut off by a smaller `runtime`: for its log it has had its one trial."""
    if not run.log.exists():
        return False
    logged = triallog.read(run.log)
    if not logged.trials or logged.trials[-1].status != "cut" or logged.end is None:
        return False
    had, has = logged.end["budget"]["seconds"], run.budget.seconds
    return had is not None and (has is None or has > had)


def _left_behind(run: Run) -> list[Path]:
    """Checkpoint and table of an earlier search, which starting over must not continue."""
    assert isinstance(run.problem, CellSearch)
    seed = int(np.random.SeedSequence([run.seed, 0]).generate_state(1)[0])  # the search loop's, of its first trial
    path = run.problem.checkpoint(seed)
    return [] if path is None else [path, path.with_suffix(".csv")]


def levels(p: Tensor, seed: int, o: Options, *, how: str = "sampled") -> Levels:
    """Candidate cells of every level, from `6 x 5` probabilities.

    All sources of cells draw with the same random numbers, so that they differ where their probabilities do.
    """
    if how == "argmax":
        return ((to_text(most_probable_cell(p)),),) * o.max_cells
    sampled = sample_cells(p, np.random.default_rng([seed, 5]), levels=o.max_cells, candidates=o.candidates)
    return tuple(tuple(map(to_text, level)) for level in sampled)


# Stacks -------------------------------------------------------------------------------------------------------------


def problem(o: Options, cells: Levels, **changes: Any) -> StackedCells:
    """What the searches after DARTS search: stacks of these cells."""
    base = StackedCells(
        data=o.dataset,
        cells=cells,
        performance_measure=o.performance_measure,
        min_epochs=max(1, int(o.min_budget)),
        max_epochs=int(o.max_budget),
        per_class=o.per_class,
        max_mflops=o.max_mflops,
        widths=o.widths,
        fc_widths=o.fc_widths,
        batch_sizes=o.batch_sizes,
        batch_size=settings(o).batch_size,
        augment=o.augment,
        device=o.device,
    )
    return replace(base, **changes)


def _n_trials(o: Options) -> int:
    """As SMAC counts the trials that Hyperband can pay with `total_budget` epochs."""
    from smac.intensifier.hyperband_utils import get_n_trials_for_hyperband_multifidelity as count

    if not 1 <= o.min_budget <= o.max_budget <= o.total_budget:
        raise UserError(
            f"budgets: min_budget {o.min_budget:g}, max_budget {o.max_budget:g}, total_budget {o.total_budget:g}; "
            "give 1 <= min_budget <= max_budget <= total_budget epochs"
        )
    return count(o.total_budget, o.min_budget, o.max_budget, eta=checked_eta(o.eta), print_summary=False)


def optimizer(o: Options, method: str, task: StackedCells, seed: int) -> Optimizer:
    """Random search for the method "rs", else SMAC's BOHB."""
    if method == "rs":
        return RandomSearch(task, seed)
    return SmacBohb(
        task,
        seed,
        eta=o.eta,
        n_init=o.n_init,
        retrain_after=o.retrain_after,
        min_trials=o.min_trials,
        use_default_config=True,
    )


def searches(o: Options, cells: Mapping[int, Trial]) -> Iterator[Run]:
    """Every method with every seed after DARTS, under one number of epochs, in what DARTS left of `runtime`.

    Raises:
        UserError: DARTS left no time.
    """
    for seed in o.seeds:
        spent = cells[seed].outputs["seconds"]
        if o.runtime is not None and spent >= o.runtime:
            raise UserError(f"runtime: DARTS took all of its {o.runtime:g} s; give more, or fewer epochs in `search`")
        for method in o.methods:
            p = uniform_probabilities() if method == "uniform" else probabilities(cells[seed].outputs)
            how = "argmax" if method == "argmax" else "sampled"
            task = problem(o, levels(p, seed, o, how=how), resplit=method == "resplit")
            before = 0.0 if method == "uniform" else spent
            seconds = None if o.runtime is None else o.runtime - before
            trials = None if method == "rs" else _n_trials(o)
            yield Run(
                problem=task,
                optimizer=optimizer(o, method, task, seed),
                budget=Budget(trials=trials, epochs=o.total_budget, seconds=seconds),
                log=folder(o) / "logs" / f"{method}-{o.dataset}-seed{seed}.jsonl",
                seed=seed,
                method=method,
                study=NOTEBOOK,
                profile=o.profile,
            )


def finished(o: Options, cells: Mapping[int, Trial], histories: Mapping[str, History]) -> list[Search]:
    """Raises `UserError` for a search in which no trial reached the highest budget."""
    runs = {run.log.stem: run for run in searches(o, cells)}
    found = [Search(runs[name].method, runs[name].seed, h, runs[name].problem) for name, h in histories.items()]
    for s in found:
        if not s.full:
            raise UserError(f"{s.method}, seed {s.seed}: no trial reached {o.max_budget:g} epochs; give more runtime")
    return found


def models(o: Options, s: Search) -> Path:
    """The folder of a search's final networks; another incumbent has another."""
    digest = spaces.digest(s.incumbent.configuration)
    return folder(o) / "models" / f"{s.method}-{s.problem.data}-seed{s.seed}-{digest}"


def run_finals(o: Options, found: Sequence[Search]) -> dict[tuple[str, int], list[Trial]]:
    """Train each incumbent anew on the training images and measure it on the test split, by (method, seed).

    What is trained is kept in `models(o, s)`, to be loaded by `stack_training.load_stack`.
    """
    runs = {}
    for s in found:
        task, name = replace(s.problem, split="test", keep=models(o, s)), f"{s.method}-{o.dataset}-seed{s.seed}"
        runs[s.method, s.seed] = retraining(
            s,
            task,
            o.final_seeds,
            folder(o) / "logs",
            name=name,
            seed=FINAL_SEED + s.seed,
            study=NOTEBOOK,
            profile=o.profile,
        )
    return run_trials(runs, workers=o.workers, scheduler=o.scheduler, fresh=o.fresh)


# Ablation -----------------------------------------------------------------------------------------------------------

Arm = tuple[str, bool, str]  # variant of DARTS, whether it stopped early, source of the cells


def arms() -> list[Arm]:
    """Skip prevention on and off, early stopping on and off, cells sampled and the most probable; and no search."""
    searched = [(v, stop, source) for v in VARIANTS for stop in (True, False) for source in ("sampled", "argmax")]
    return [*searched, ("none", False, "uniform")]


def stopped_at(o: Options, trial: Trial, stop: bool) -> int:
    """The epoch whose architecture weights an arm uses."""
    return epochs_until_stop(trial, settings(o)) if stop else len(trial.outputs["alphas"])


def probe_configurations(o: Options, candidates: Levels) -> list[Configuration]:
    """Networks of the supernet's shape, the i-th with the i-th candidate at each level; trained all in one way."""
    shape = network(o.model)
    fixed: Configuration = {**PROBE, **o.probe, "dropout": shape["dropout"], "n_fc_layers": len(shape["fc"])}
    fixed |= {f"n_out_features_fc_{i}": width for i, width in enumerate(shape["fc"], start=1)}
    fixed["n_cells"] = len(shape["out_channels"])
    found = []
    for i in range(o.probes):
        own = dict(fixed)
        layers = zip(shape["out_channels"], shape["pooling"], candidates, strict=False)
        for level, (width, pool, choices) in enumerate(layers, start=1):
            own[f"cell_{level}"] = choices[i % len(choices)]
            own |= {f"out_channels_{level}": width, f"use_max_pooling_{level}": pool}
        found.append(own)
    return found


def run_probes(o: Options, variants: Mapping[tuple[str, int], Trial]) -> dict[tuple[Arm, int], list[Trial]]:
    """Train and test the ablation's networks, by (arm, seed). Arms whose cells agree share their trainings."""
    runs: dict[tuple[Arm, int], Run] = {}
    known: dict[Path, Run] = {}
    wide = replace(o, max_cells=len(network(o.model)["out_channels"]), candidates=o.probes)
    for seed in o.seeds:
        for arm in arms():
            variant, stop, source = arm
            p = uniform_probabilities()
            if source != "uniform":
                trial = variants[variant, seed]
                p = probabilities(trial.outputs, stopped_at(o, trial, stop))
            cells = levels(p, seed, wide, how=source)
            task = problem(
                o, cells, split="test", max_mflops=None, min_epochs=o.probe_epochs, max_epochs=o.probe_epochs
            )
            configurations = probe_configurations(o, cells)
            name = f"probe-{o.dataset}-seed{seed}-{spaces.digest({'all': configurations})}"
            run = trainings(
                task,
                configurations,
                folder(o) / "logs" / f"{name}.jsonl",
                seed=seed,
                method="probe",
                study=NOTEBOOK,
                profile=o.profile,
            )
            runs[arm, seed] = known.setdefault(run.log, run)
    trials = run_trials(
        {path: run for path, run in known.items()}, workers=o.workers, scheduler=o.scheduler, fresh=o.fresh
    )
    return {key: trials[run.log] for key, run in runs.items()}


def log_files(o: Options) -> list[Path]:
    """The trial logs that the study's records rest on."""
    return sorted((folder(o) / "logs").glob("*.jsonl"))
