import json
import shutil
import sys
from datetime import datetime

import pytest
from ConfigSpace import Configuration, ConfigurationSpace

from jahslib.__main__ import main
from jahslib.core.optimizer import Listed
from jahslib.core.problem import Fidelity
from jahslib.errors import UserError
from jahslib.optimizers.evolution import Evolution
from jahslib.optimizers.random_search import RandomSearch
from jahslib.optimizers.successive_halving import Hyperband
from jahslib.problems.function import Function
from jahslib.reporting import exports
from jahslib.search import Budget, logfiles, search, triallog
from jahslib.spaces import configurations as spaces
from jahslib.spaces.grammars import examples
from jahslib.spaces.grammars.space import GrammarSpace
from tests.conftest import PRECISION, SIZE, Toy, tiny_space


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Hyperband brackets; failures; rejections beside repeated trials; and a minimised function."""
    folder = tmp_path_factory.mktemp("run") / "results/cpu/00_toys/logs"
    toy = Toy([SIZE, PRECISION])
    wide = {"kernel": 7, "layers": 2, "norm": True, "rate": 1e-3, "width": 512}
    good = {"kernel": 5, "layers": 1, "norm": True, "rate": 1e-3}
    function = Function("kernel", tiny_space(), lambda c: c["kernel"], worst=10)
    failing = Toy(space=tiny_space(), fail="raise")
    searches = {
        "ea-seed0": (toy, Evolution(toy, 0, pop_size=4, hyperband=True), Budget(epochs=150)),
        "failing": (failing, RandomSearch(failing, 0), Budget(trials=4)),
        "repeats.1": (toy, Listed(toy, 0, [wide, good, good]), Budget(trials=3)),
        "kernel": (function, RandomSearch(function, 0), Budget(trials=4)),
    }
    for name, (problem, optimizer, budget) in searches.items():
        log = folder / f"{name}.jsonl"
        search(problem, optimizer, budget, log, seed=0, study="00_toys", method=name, profile="cpu")
    return {name: folder / f"{name}.jsonl" for name in searches}


def run_of(folder):
    read = {file.name: file.read_text() for file in folder.iterdir()}
    assert set(read) == {"configspace.json", "meta.json", "configs.json", "origins.json", "history.jsonl"}
    history = [json.loads(line) for line in read.pop("history.jsonl").splitlines()]
    return {name: json.loads(text) for name, text in read.items()} | {"history": history}


# DeepCAVE ---------------------------------------------------------------------------------------------------------


def test_deepcave_run_holds_every_trial(logs, tmp_path):
    (folder,) = exports.to_deepcave([logs["ea-seed0"]], tmp_path / "dc")
    assert folder == tmp_path / "dc/00_toys-ea-seed0"
    run, trials = run_of(folder), triallog.read(logs["ea-seed0"]).trials
    assert len(run["history"]) == len(trials)
    for (id, budget, _, costs, cpu, start, end, status, more), trial in zip(run["history"], trials, strict=True):
        assert run["configs.json"][str(id)] == trial.configuration
        assert (budget, status, more["trial"]) == (trial.fidelity, 1, trial.id)
        assert costs == [*(trial.metrics[name] for name in ("accuracy", "size", "precision")), trial.seconds]
        assert 0 <= start <= end
        assert cpu == round(trial.seconds, 2)
    keys = [(line[0], line[1], line[2]) for line in run["history"]]
    assert len(set(keys)) == len(keys)
    assert run["meta.json"]["budgets"] == sorted({t.fidelity for t in trials})
    assert run["meta.json"]["seeds"] == sorted({line[2] for line in run["history"]})
    assert set(run["origins.json"]) == set(run["configs.json"])
    assert len({spaces.key(c) for c in run["configs.json"].values()}) == len(run["configs.json"])


def test_deepcave_objectives(logs, tmp_path):
    (folder,) = exports.to_deepcave([logs["ea-seed0"]], tmp_path)
    accuracy, size, precision, time = run_of(folder)["meta.json"]["objectives"]
    assert accuracy == {
        **{"name": "accuracy", "lower": 0.0, "upper": 1.0, "lock_lower": True, "lock_upper": True},
        "optimize": "upper",
    }
    assert [(o["name"], o["optimize"]) for o in (size, precision, time)] == [
        ("size <= 600", "lower"),
        ("precision >= 0.5", "upper"),
        ("time", "lower"),
    ]
    sizes = [t.metrics["size"] for t in triallog.read(logs["ea-seed0"]).trials]
    assert (size["lower"], size["upper"], size["lock_lower"]) == (min(sizes), max(sizes), False)
    (folder,) = exports.to_deepcave([logs["kernel"]], tmp_path)
    assert run_of(folder)["meta.json"]["objectives"][0]["optimize"] == "lower"


def test_deepcave_reads_the_space_and_every_configuration(logs, tmp_path):
    for folder in exports.to_deepcave(logs.values(), tmp_path):
        space = ConfigurationSpace.from_json(folder / "configspace.json")
        for configuration in run_of(folder)["configs.json"].values():
            assert spaces.plain(Configuration(space, values=configuration)) == configuration


def test_deepcave_statuses_and_repeats(logs, tmp_path):
    failing, repeats = exports.to_deepcave([logs["failing"], logs["repeats.1"]], tmp_path)
    history, trials = run_of(failing)["history"], triallog.read(logs["failing"]).trials
    assert {t.status for t in trials} == {"ok", "failed"}
    for line, trial in zip(history, trials, strict=True):
        assert line[7] == (1 if trial.status == "ok" else 4)
        assert line[8].get("traceback", "") == trial.reason
        assert (line[3] == [None, None]) == (trial.status == "failed")
    assert repeats.name == "00_toys-repeats-1"  # DeepCAVE would cut the name at the dot
    rejected, first, second = run_of(repeats)["history"]
    assert (rejected[7], rejected[3]) == (5, [None] * 4)
    assert (first[:3], second[:3]) == ([1, 9, 0], [1, 9, 1])


# Optuna -----------------------------------------------------------------------------------------------------------


def journal_of(file):
    """Studies of a journal by name, after Optuna's JournalStorage: operations in order, ids counted from 0."""
    studies = {}
    for line in file.read_text().splitlines():
        operation = json.loads(line)
        match operation["op_code"]:
            case 0:
                studies[len(studies)] = {**operation, "trials": [], "user": {}, "system": {}}
            case 2 | 3 as code:
                name = {2: "user", 3: "system"}[code]
                assert len(operation[f"{name}_attr"]) == 1
                studies[operation["study_id"]][name].update(operation[f"{name}_attr"])
            case 4:
                studies[operation["study_id"]]["trials"].append(operation)
            case code:
                pytest.fail(f"operation {code}")
    return {study["study_name"]: study for study in studies.values()}


def external(trial):
    """Parameters as Optuna shows them, refusing any outside its distribution."""
    values = {}
    for name, number in trial["params"].items():
        kind, a = json.loads(trial["distributions"][name]).values()
        if kind == "CategoricalDistribution":
            values[name] = a["choices"][number]
            continue
        assert a["low"] <= number <= a["high"] and a["step"] == {"FloatDistribution": None, "IntDistribution": 1}[kind]
        values[name] = int(number) if kind == "IntDistribution" else number
    return values


def test_optuna_trials_are_whole_trainings(logs, tmp_path):
    study = journal_of(exports.to_optuna([logs["ea-seed0"]], tmp_path))["00_toys/ea-seed0"]
    assert (study["directions"], study["system"]) == ([2], {"study:metric_names": ["accuracy"]})
    trials = {t.id: t for t in triallog.read(logs["ea-seed0"]).trials}
    ids = [id for trial in study["trials"] for id in trial["user_attrs"]["trials"]]
    assert set(ids) == set(trials)
    continued = [t for t in study["trials"] if len(t["user_attrs"]["trials"]) > 1]
    assert continued
    for trial in study["trials"]:
        parts = [trials[id] for id in trial["user_attrs"]["trials"]]
        assert external(trial) == parts[-1].configuration
        assert trial["value"] == parts[-1].metrics["accuracy"]
        assert trial["intermediate_values"] == {str(t.fidelity): t.metrics["accuracy"] for t in parts}
        assert trial["state"] == (1 if parts[-1].final else 2)
        assert trial["user_attrs"]["epochs"] == parts[-1].fidelity
        assert datetime.fromisoformat(trial["datetime_start"]) <= datetime.fromisoformat(trial["datetime_complete"])
        assert [c <= 0 for c in trial["system_attrs"]["constraints"]] == [
            c.violation(parts[-1].metrics) == 0 for c in (SIZE, PRECISION)
        ]


def test_optuna_states(logs, tmp_path):
    studies = journal_of(exports.to_optuna(logs.values(), tmp_path))
    assert list(studies) == [f"00_toys/{name}" for name in logs]
    failing = studies["00_toys/failing"]["trials"]
    assert {(t["state"], t["value"] is None, "reason" in t["user_attrs"]) for t in failing} == {
        (1, False, False),
        (3, True, True),
    }
    rejected, *repeats = studies["00_toys/repeats.1"]["trials"]
    assert (rejected["state"], rejected["value"], rejected["intermediate_values"]) == (2, None, {})
    assert [t["state"] for t in repeats] == [1, 1]
    assert studies["00_toys/kernel"]["directions"] == [1]


def test_optuna_opens_the_journal(logs, tmp_path):
    optuna = pytest.importorskip("optuna")
    studies = exports.optuna_studies(exports.to_optuna(logs.values(), tmp_path))
    recorded = triallog.read(logs["ea-seed0"]).trials
    study = studies["00_toys/ea-seed0"]
    best = Toy([SIZE, PRECISION]).incumbent(recorded)
    assert study.best_trial.params == best.configuration
    assert study.best_value == best.metrics["accuracy"]
    for trial in (trial for study in studies.values() for trial in study.trials):
        trial._validate()
        assert trial.state != optuna.trial.TrialState.RUNNING


def test_optuna_opens_fractions_of_a_resource(tmp_path):
    pytest.importorskip("optuna")
    toy, log = Toy(), tmp_path / "log.jsonl"
    toy.fidelity = Fidelity(0.1, 0.9, "share")
    history = search(toy, Hyperband, Budget(trials=15), log, seed=0)
    (study,) = exports.optuna_studies(exports.to_optuna(log, tmp_path)).values()
    (whole,) = (trial for trial in study.trials if len(trial.intermediate_values) == 3)
    (last,) = (t for t in history if t.fidelity == 0.9)
    assert whole.intermediate_values[2] == whole.value == last.metrics["accuracy"]


def test_opening_a_journal_without_optuna_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"pip install \"jahslib\[optuna\]"):
        exports.optuna_studies(tmp_path / "optuna.journal")


# Both -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["deepcave", "optuna"])
def test_the_same_log_gives_the_same_bytes(logs, tmp_path, to):
    def written(out, given=logs.values()):  # noqa: B008
        assert main(["export", *map(str, given), "--to", to, "--out", str(out)]) == 0
        return {str(f.relative_to(out)): f.read_bytes() for f in out.rglob("*") if f.is_file()}

    first = written(tmp_path / "a")
    assert first == written(tmp_path / "b") == written(tmp_path / "a")  # and over the old ones
    folder = shutil.copytree(logs["kernel"].parent, tmp_path / "logs")
    assert logfiles.pack(logfiles.found(folder, "[ef]*"), folder / "some.jsonl.xz") == 2
    by_name = [folder / "some.jsonl.xz", folder / "kernel.jsonl", folder / "repeats.1.jsonl"]
    assert written(tmp_path / "c", [folder]) == written(tmp_path / "d", by_name)
    assert written(tmp_path / "c", [folder]).keys() == first.keys()


@pytest.mark.parametrize("to", ["deepcave", "optuna"])
def test_refusals_write_nothing(logs, tmp_path, capsys, to):
    grammar = Function("own", GrammarSpace(examples.grammar("cell-based"), name="cells"), len, worst=1e3)
    search(grammar, RandomSearch(grammar, 0), Budget(trials=2), tmp_path / "terms.jsonl", seed=0)
    narrow = Toy(space=tiny_space())
    narrow.check_configuration = lambda configuration: None
    outside = Listed(narrow, 0, [{"kernel": 3, "norm": True, "rate": 1.0}])
    search(narrow, outside, Budget(trials=1), tmp_path / "outside.jsonl", seed=0)
    own = Toy()
    own.describe = lambda: {"name": "own"}
    search(own, RandomSearch(own, 0), Budget(trials=1), tmp_path / "own.jsonl", seed=0)
    out, good = tmp_path / "out", logs["kernel"]
    for wrong, said in {
        tmp_path / "none.jsonl": "does not exist",
        good: "are both 00_toys/kernel",
        tmp_path / "terms.jsonl": "a grammar, which has no named hyperparameters",
        tmp_path / "own.jsonl": r"own\.jsonl has no space",
        tmp_path / "outside.jsonl": "trial 0 is outside its space .*hyperparameter 'rate' is unknown",
    }.items():
        assert main(["export", str(good), str(wrong), "--to", to, "--out", str(out)]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert exports.re.search(said, lines[0])
    assert not out.exists()


@pytest.mark.parametrize("to", ["deepcave", "optuna"])
@pytest.mark.parametrize("lines", [0, 0.5, 1, 1.5])
def test_a_log_without_a_trial_is_left_out_and_told(logs, tmp_path, capsys, caplog, to, lines):
    """As of a search that is just beginning, or was killed then."""
    content = logs["kernel"].read_bytes().splitlines(keepends=True)
    torn = content[int(lines)][:40] if lines % 1 else b""
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "begun.jsonl").write_bytes(b"".join(content[: int(lines)]) + torn)
    assert main(["export", str(folder), "--to", to, "--out", str(tmp_path / "out")]) == 2
    assert "no trial log with a trial" in capsys.readouterr().err and not (tmp_path / "out").exists()
    shutil.copy(logs["kernel"], folder)
    caplog.clear()
    assert main(["export", str(folder), "--to", to, "--out", str(tmp_path / "out")]) == 0
    assert "begun.jsonl holds no trial and is left out" in caplog.text
    assert len(capsys.readouterr().out.splitlines()) == 1 and "begun" not in str([*(tmp_path / "out").iterdir()])


def test_a_run_of_another_log_is_not_overwritten(tmp_path):
    """`q0.5` and `q0-5` are one name to DeepCAVE, also where they are exported one after another."""
    for seed, name in enumerate(("q0.5", "q0-5")):
        search(Toy(), RandomSearch(Toy(), seed), Budget(trials=2), tmp_path / f"{name}.jsonl", seed=seed)
    first = tmp_path / "q0.5.jsonl"
    (written,) = exports.to_deepcave([first], tmp_path / "out")
    before = (written / "history.jsonl").read_text()
    search(Toy(), RandomSearch(Toy(), 0), Budget(trials=3), first, seed=0)
    exports.to_deepcave([first], tmp_path / "out")  # the same log, which went on
    with pytest.raises(UserError, match="holds another run than"):
        exports.to_deepcave([tmp_path / "q0-5.jsonl"], tmp_path / "out")
    assert (written / "history.jsonl").read_text().startswith(before)
