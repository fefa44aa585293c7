"""Study 02: which trainings are run, on what, and where their logs stand; see notebook 02_growing_thresholds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jahslib import paths
from jahslib.core.trials import Configuration, Trial
from jahslib.errors import UserError
from jahslib.experiments.profiles import RunOptions, refuse_empty, refuse_less, resolve
from jahslib.problems.growing_convnet import (
    BASELINE,
    INCUMBENT,
    INCUMBENT_STATIC,
    LEARNING_RATE,
    GrowingConvNets,
    static_configuration,
)
from jahslib.search.runs import Run, run_trials, trainings
from jahslib.spaces import configurations as spaces

NOTEBOOK = "02_growing_thresholds"

BASELINE_NAME, NORTH_NAME = "baseline", "NORTH-Select"
TEST_TYPES = ("baseline", "BOHB static", "BOHB growing", "grown, retrained statically")


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Every option of the study.

    `thresholds`: the values of q in the sweep. `gamma`, `north_width`: NORTH-Select's point, which the original starts
    from 16 neurons a layer. `ablations`: name -> changes to the problem of one q = `ablated` point, `rule` among them.
    `full_folds`: folds of three points trained on all of the data in addition, to be compared like for like with the
    reported values; 0 leaves it out. `configuration`: path of what "BOHB growing" trains in the test comparison, such
    as a winner of study 01 (JSON); None is the original's incumbent.
    """

    data: str
    per_class: int | None
    thresholds: tuple[float, ...]
    folds_used: int
    max_epochs: int
    test_runs: int
    trace_every: int
    full_folds: int
    seeds: tuple[int, ...] = (0,)
    folds: int = 5
    gamma: float = 0.9
    north_width: int = 16
    initial_width: int = 8
    max_width: int = 256
    max_params: int = 30_000
    growth_every: int = 10
    ablated: float = 0.8
    ablations: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {
            "random neurons": {"rule": {"initialisation": "random"}},
            "neurons off the weights' row space": {"rule": {"initialisation": "weight"}},
            "growth at every step": {"rule": {"every": 1}},
            "running batch statistics": {"batch_norm": "running"},
        }
    )
    configuration: str | None = None

    def __post_init__(self):
        for q in (*self.thresholds, self.gamma, self.ablated):
            if not 0 <= q <= 1:
                raise UserError(f"thresholds: {q} is none; give values in [0, 1]")
        refuse_empty(self, "thresholds", "seeds")
        refuse_less(self, 1, "test_runs")


SWEEP = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
PROFILES: dict[str, dict[str, Any]] = {
    "smoke": {
        "note": "300 of mnist5k's digits, a few steps of training: shows that the code runs, nothing about thresholds",
        "data": "mnist5k",
        "per_class": 30,
        "thresholds": (0.3, 0.8, 1.0),
        "folds_used": 2,
        "max_epochs": 2,
        "test_runs": 2,
        "trace_every": 1,
        "full_folds": 0,
        "growth_every": 1,
    },
    "cpu": {
        "note": (
            "the first 600 training images of each class (6,000 of 60,000), so 48 steps an epoch instead of 480 in the "
            "sweep and 60 instead of 600 before the test"
        ),
        "data": "fashion_mnist",
        "per_class": 600,
        "thresholds": SWEEP,
        "folds_used": 5,
        "max_epochs": 10,
        "test_runs": 5,
        "trace_every": 4,
        "full_folds": 2,
    },
    "paper": {
        "note": "the original's data, folds, epochs and runs",
        "data": "fashion_mnist",
        "per_class": None,
        "thresholds": SWEEP,
        "folds_used": 5,
        "max_epochs": 10,
        "test_runs": 5,
        "trace_every": 20,
        "full_folds": 0,
    },
}


def options(**given: Any) -> Options:
    """Resolve notebook parameters; see `jahslib.experiments.profiles.resolve`."""
    return resolve(Options, PROFILES, given)


def check(o: Options) -> None:
    """See `jahslib.studies.check`."""
    test_problem(o).test_images  # noqa: B018 (loads the test split)
    test_problem(o).check()
    if o.configuration is not None:
        spaces.read(test_problem(o).space, o.configuration)
    for configuration in (BASELINE, INCUMBENT_STATIC, _incumbent(o)):
        test_problem(o).check_depth(configuration)
    for run in [*sweep(o).values(), *full(o).values(), *ablation(o).values(), *tests(o).values()]:
        run.check(fresh=o.fresh)


def problem(o: Options, **changes: Any) -> GrowingConvNets:
    """The problem of the sweep: five folds of seed 42, no limit on parameters."""
    base = GrowingConvNets(
        data=o.data,
        min_epochs=1,
        max_epochs=o.max_epochs,
        folds=o.folds,
        folds_used=o.folds_used,
        per_class=o.per_class,
        max_params=None,
        initial_width=o.initial_width,
        rule={"every": o.growth_every, "max_conv": o.max_width},
        trace_every=o.trace_every,
        device=o.device,
    )
    return replace(base, **changes)


def test_problem(o: Options) -> GrowingConvNets:
    """Train on the whole training split under the search's limits, measure on the test split."""
    return problem(
        o, split="test", max_params=o.max_params, rule={"every": o.growth_every, "max_conv": min(128, o.max_width)}
    )


def logs(o: Options) -> Path:
    """Folder of the study's trial logs."""
    return paths.results(o.profile, NOTEBOOK) / "logs"


def growing(q: float) -> Configuration:
    """The sweep's network: three convolutions that grow at this threshold."""
    return {"learning_rate_init": LEARNING_RATE, "n_conv_layers": 3, "n_fc_layers": 0, "conv_trigger_threshold": q}


def sweep(o: Options) -> dict[tuple[str, int], Run]:
    """The runs by (type, seed): baseline, NORTH-Select and every q, each cross-validated once a seed."""
    north = {"trigger": "north", "every": 1, "max_conv": o.max_width}
    points: dict[str, tuple[GrowingConvNets, Configuration]] = {
        BASELINE_NAME: (problem(o), BASELINE),
        NORTH_NAME: (problem(o, initial_width=o.north_width, rule=north), growing(o.gamma)),
    }
    points |= {threshold_name(q): (problem(o), growing(q)) for q in o.thresholds}
    return {
        (name, seed): _run(o, f"{_file_name(name)}-seed{seed}", name, task, [configuration], seed)
        for seed in o.seeds
        for name, (task, configuration) in points.items()
    }


def full(o: Options) -> dict[tuple[str, int], Run]:
    """The runs of baseline, q = .8 and q = 1 on all of the data, by (type, seed)."""
    if not o.full_folds:
        return {}
    task = problem(o, per_class=None, folds_used=o.full_folds, trace_every=0)
    points = {BASELINE_NAME: BASELINE} | {threshold_name(q): growing(q) for q in (0.8, 1.0)}
    seed = o.seeds[0]
    return {
        (name, seed): _run(o, f"full-{_file_name(name)}-seed{seed}", name, task, [c], seed)
        for name, c in points.items()
    }


def ablation(o: Options) -> dict[tuple[str, int], Run]:
    """The runs of the q = `ablated` point with one thing changed, by (change, seed)."""
    runs = {}
    for name, changes in o.ablations.items():
        try:
            plain = problem(o, **{k: v for k, v in changes.items() if k != "rule"})
            task = replace(plain, rule=plain.rule | changes.get("rule", {}))
        except TypeError as error:
            raise UserError(f"ablations: {name}: {error}; give options of GrowingConvNets") from None
        for seed in o.seeds:
            log = f"ablation-{_file_name(name)}-seed{seed}"
            runs[name, seed] = _run(o, log, name, task, [growing(o.ablated)], seed)
    return runs


def run(o: Options, runs: Mapping[tuple[str, int], Run]) -> dict[str, list[Trial]]:
    """Train what is not trained yet; the trials by name, one a seed."""
    found: dict[str, list[Trial]] = {}
    for (name, _), trials in run_trials(runs, workers=o.workers, scheduler=o.scheduler, fresh=o.fresh).items():
        found.setdefault(name, []).extend(trials)
    return found


def tests(o: Options) -> dict[tuple[str, int], Run]:
    """The runs of the test comparison but the last type's, by (type, seed)."""
    task, seed = test_problem(o), o.seeds[0]
    chosen = {"baseline": BASELINE, "BOHB static": INCUMBENT_STATIC, "BOHB growing": _incumbent(o)}
    return {
        (name, seed): _run(o, f"test-{_file_name(name)}-{spaces.digest(c)}", name, task, [c] * o.test_runs, seed)
        for name, c in chosen.items()
    }


def test_of_what_grew(o: Options, grown: Sequence[Trial]) -> dict[tuple[str, int], Run]:
    """The run that trains what grew in "BOHB growing" once more as static networks, by (type, seed)."""
    rate = _incumbent(o).get("learning_rate_init", LEARNING_RATE)
    networks = [static_configuration(rate, f["widths"], f["n_conv"]) for t in grown for f in t.outputs["folds"]]
    name, seed = TEST_TYPES[-1], o.seeds[0]
    log = f"test-{_file_name(name)}-{spaces.digest({'all': str(networks)})}"
    return {(name, seed): _run(o, log, name, test_problem(o), networks, seed)}


def run_tests(o: Options) -> dict[str, list[Trial]]:
    """The test comparison by type; what grew in "BOHB growing" is then trained once more as static networks."""
    found = run(o, tests(o))
    return found | run(o, test_of_what_grew(o, found["BOHB growing"]))


def _incumbent(o: Options) -> Configuration:
    return spaces.read(test_problem(o).space, o.configuration) if o.configuration else INCUMBENT


def threshold_name(q: float) -> str:
    """What a point of the sweep is called in tables and figures."""
    return f"q = {q:g}"


def log_files(o: Options) -> list[Path]:
    """The trial logs that the study's records rest on."""
    return sorted(logs(o).glob("*.jsonl"))


def _run(
    o: Options, log: str, method: str, task: GrowingConvNets, configurations: Sequence[Configuration], seed: int
) -> Run:
    return trainings(
        task,
        list(configurations),
        logs(o) / f"{log}.jsonl",
        seed=seed,
        method=method,
        study=NOTEBOOK,
        profile=o.profile,
    )


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c == "." else "_" for c in name.lower().replace(" = ", ""))
