"""What is run, in which order, and what it takes.

Entries are trainings of given networks, which no change of an optimizer can touch.
"""

from collections.abc import Callable, Iterator
from types import SimpleNamespace

from benchmarks.campaign.running import Entry, finished
from jahslib.core.trials import Configuration
from jahslib.errors import UserError
from jahslib.experiments.notebook import experiment
from jahslib.problems.growing_convnet import BASELINE, INCUMBENT
from jahslib.search.runs import Run

# Core-hours of one point of study 02's sweep: 24,000 steps, whose time grows with the widths (see growth.md); down to
# q = 0.6 as they took beside other work, the rest in proportion. Those in question come first, then the shortest: each
# is one trial, and what a kill ends begins anew.
SWEEP_HOURS = {
    "q = 0.8": 0.1,
    "baseline": 0.8,
    "q = 0.9": 0.2,
    "q = 1": 0.2,
    "q = 0.7": 0.5,
    "q = 0.6": 0.6,
    "q = 0.5": 1.0,
    "NORTH-Select": 1.7,
    "q = 0.4": 1.7,
    "q = 0.3": 3.3,
}
# of five trainings on all images each, the baseline's as they took
TEST_HOURS = {"baseline": 1.2, "BOHB static": 1.2, "BOHB growing": 2.4, "grown, retrained statically": 2.4}

PUBLISHED = ("published 7", "published 1", "published 5", "published 6", "published 4", "published 2")
# Core-hours of a search in the profile `paper`: a guess for study 06 on MNIST, and study 07's 180,000 epochs of a fold.
TUNING_HOURS, SEARCH_HOURS = 100.0, 750.0


def thresholds() -> Iterator[Entry]:
    """Study 02 at the original's scale: its sweep, two points with two more seeds, then its test comparison."""
    of, again = (
        experiment("02_growing_thresholds", {"profile": "paper", "device": "cpu", "seeds": seeds})
        for seeds in ([0], [1, 2])
    )
    yield from (_entry(of.sweep[name, 0], hours) for name, hours in SWEEP_HOURS.items())
    points = [(name, seed) for seed in (1, 2) for name in ("baseline", "q = 0.8")]
    yield from (_entry(again.sweep[name, seed], SWEEP_HOURS[name]) for name, seed in points)
    yield from (_entry(run, TEST_HOURS[name]) for (name, _), run in of.tests.items())
    grown, name = of.tests["BOHB growing", 0], "grown, retrained statically"

    def of_what_grew() -> Run | None:
        trials = finished(grown)
        return of.of_what_grew(trials)[name, 0] if trials else None

    yield Entry(f"{grown.study[:2]} test: {name}", TEST_HOURS[name], of_what_grew)


def published(repeats: int = 5) -> Iterator[Entry]:
    """The configurations that study 07's original published, trained as it did; the smallest networks first.

    Rows 2 and 3 are one configuration, which is trained once.
    """
    given = {"profile": "cpu", "device": "cpu", "retrain": dict.fromkeys(PUBLISHED, repeats)}
    for run in experiment("07_constrained_EA", given).retrainings.values():
        (configuration, *_) = run.optimizer.configurations  # type: ignore[attr-defined]
        yield _entry(run, repeats * _training_hours(configuration))


def reported_networks() -> Iterator[Entry]:
    """Study 01's original incumbent and baseline, trained five times each on all images, as reported.

    Study 02's test comparison trains the same with seed 0; these are further trainings.
    """
    of = experiment("01_growing_bohb", {"profile": "paper", "device": "cpu"})
    task = of.tested(of.METHODS["bohb"].problem)
    networks = (("baseline", BASELINE, "baseline"), ("incumbent", INCUMBENT, "BOHB growing"))
    for name, configuration, taking in networks:
        log, method = f"reported-{name}", f"reported {name}"
        run = of.study.trainings(task, [configuration] * 5, log, method=method, seed=1)
        yield _entry(run, TEST_HOURS[taking])


def on_device(device: str, profile: str = "paper") -> Iterator[Entry]:
    """What is for a device that is lent for minutes (`benchmarks.device`), not for the campaign on a core.

    Study 07 first, whose networks are the widest: configurations that are given, which end soon; then study 06's
    searches on MNIST; then study 07's, which take all that is left. Methods of other libraries need these installed.
    """
    own = {"profile": profile, "device": device}
    paper = profile == "paper"
    retrained = {"retrain": dict.fromkeys((*PUBLISHED, "row 1", "default"), 5)} if paper else {}
    seven = _made("07_constrained_EA", own | {"methods": ["ea_hb", "ea", "rs"]} | retrained)
    six = _made("06_ax_bo", own | {"methods": ["rs", "sobol", "grid"]} | ({"data": ["mnist"]} if paper else {}))
    if isinstance(seven, SimpleNamespace):
        for run in seven.retrainings.values():
            (configuration, *others) = run.optimizer.configurations
            yield _entry(run, (1 + len(others)) * _training_hours(configuration))
    if isinstance(six, Entry):
        yield six
    else:
        yield from (_entry(run, TUNING_HOURS if paper else 0.1) for run in six.plan)
    if isinstance(seven, Entry):
        yield seven
    else:
        yield from (_entry(run, SEARCH_HOURS if paper else 0.1) for run in (*seven.plan, *seven.other_plan))


def _made(study: str, given: dict) -> SimpleNamespace | Entry:
    """A study's experiment, or an entry that says why there is none here."""
    try:
        return experiment(study, given)
    except UserError as error:
        told = error

        def refuse() -> Run:
            raise told

        return Entry(study[:2], 0.0, refuse)


def _entry(run: Run, hours: float) -> Entry:
    return Entry(f"{run.study[:2]} {run.log.stem}", hours, lambda: run)


def _training_hours(configuration: Configuration) -> float:
    """Of 50 epochs of 1,020 images of 16 pixels, by the convolutions' multiplications, at the first row's rate."""
    channels, side, multiplications = 3, 16, 0
    for i in range(configuration["n_conv_layers"]):
        width = configuration[f"n_channels_conv_{i}"]
        multiplications += channels * width * (configuration["kernel_size"] * side) ** 2
        channels, side = width, side // 2
    return 0.07 * multiplications / 68e6


PARTS: dict[str, Callable[[], Iterator[Entry]]] = {"02": thresholds, "07": published, "01": reported_networks}


def campaign(only: str | None = None) -> list[Entry]:
    """Every entry in the order in which they are run, or those of one study."""
    return [entry for study, part in PARTS.items() if only in (None, study) for entry in part()]
