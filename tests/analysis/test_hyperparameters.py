"""Tables of searches for training hyperparameters, from made-up histories."""

from dataclasses import replace

import pytest

from jahslib.analysis import hyperparameters as tables
from jahslib.analysis.tables import choosing
from jahslib.core.trials import History, Suggestion, Trial
from jahslib.problems.tuned_network import TunedNetwork
from jahslib.search.runs import AnySearch
from tests.analysis.conftest import backwards

PROBLEM = TunedNetwork(data="mnist5k", network="lenet300", min_epochs=1, max_epochs=2)
LABELS = {"ax": "Ax", "rs": "random"}


def final(value):
    return [Trial({}, 2, epochs=2, metrics={"top1": value})]


def search(values, method="ax", seed=0, failed=(), seconds=1.0, wait=0.5, tests=()):
    """A search with these accuracies, two epochs each, that waits for every proposal."""
    history, elapsed = History(), 0.0
    for value in values:
        c = {"lr": 0.01 * (len(history) + 1), "momentum": 0.5, "weight_decay": 1e-5}
        id = history.ask(suggestion := Suggestion(c, 2))
        elapsed += wait + seconds
        ok = id not in failed
        trial = Trial(
            **vars(suggestion),
            id=id,
            status="ok" if ok else "failed",
            metrics={"top1": value} if ok else {},
            curve={"train_loss": [2.0, 1.0]} if ok else {},
            epochs=2,
            seconds=seconds,
            elapsed=elapsed,
            asked=id + 1,
        )
        history.finish(trial)
    return AnySearch(method, seed, history, PROBLEM, label=LABELS[method], name=f"{method}-seed{seed}", tests=tests)


def test_trials_stand_as_they_were_proposed():
    searches = [search([0.5, 0.6, 0.4]), search([0.9, 0.7], seed=1)]
    assert tables.trials_table(backwards(searches)).equals(tables.trials_table(searches))


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (0.0344, "0.0344"), (5.07e-5, "5.07·10⁻⁵"), (1e-6, "1·10⁻⁶")])
def test_small_values_are_shown_as_powers_of_ten(value, text):
    assert tables.shown(value) == text


def test_the_space_has_the_best_incumbents_values():
    table = tables.space_table([search([0.5, 0.6]), search([0.9, 0.7], seed=1)]).set_index("hyperparameter")
    assert list(table.index) == ["lr", "momentum", "weight_decay"]
    assert table.loc["lr"].tolist() == ["mnist5k", "[1·10⁻⁴, 1], log", "0.001", "0.01"]


def test_choosing_is_what_a_search_took_beyond_training_the_first_left_out():
    assert choosing(search([0.1, 0.2, 0.3], wait=0.25).history) == pytest.approx([0.25, 0.25])


def test_choosing_leaves_out_what_a_resumed_search_proposes_again():
    history = search([0.1, 0.2, 0.3, 0.4], wait=0.25).history
    for i, trial in enumerate(history.trials):  # killed after the second
        history.trials[i] = replace(trial, finished=trial.elapsed + (100.0 if i >= 2 else 0.0))
    assert choosing(history) == pytest.approx([0.25, 0.25])


def test_methods_are_averaged_over_seeds():
    searches = [
        search([0.5, 0.7], failed={0}, tests=final(0.6)),
        search([0.8, 0.9], seed=1, tests=final(0.8)),
        search([0.1], "rs", tests=final(0.2)),
    ]
    row, other = tables.methods_table(searches).itertuples()
    assert (row.data, row.method, row.n) == ("mnist5k", "Ax", 2) and (other.method, other.n) == ("random", 1)
    assert (row.val_top1, row.test_top1) == ("0.800 ± 0.141", "0.700 ± 0.141")
    assert (row.diverged, row.epochs_search, row.seconds_training) == ("0.5 ± 0.7", 4, 2.0)
    assert row.seconds_a_proposal == 0.5 and row.epochs_final == 4


def test_a_trial_worse_than_guessing_has_diverged():
    assert tables.diverged(Trial({}, 2, status="failed"), 10)
    assert tables.diverged(Trial({}, 2, curve={"train_loss": [2.3, 2.5]}), 10)
    assert not tables.diverged(Trial({}, 2, curve={"train_loss": [2.5, 2.3]}), 10)


def test_the_bootstrap_pairs_seeds():
    searches = [
        search([0.5], method, seed, tests=final(seed + 0.01 * (method == "ax")))
        for seed in (0, 1, 2)
        for method in ("ax", "rs")
    ]
    (row,) = tables.against_table([*searches, search([0.5], "rs", seed=3, tests=final(9))], "ax").itertuples()
    assert (row.pair, row.n, row.difference, row.low, row.high, row.ax_ahead) == (
        *("Ax − random", 3),
        *(0.01, 0.01, 0.01, 1),
    )
    alone = tables.against_table([s for s in searches if s.method == "rs"], "ax")
    assert alone.empty and "ax_ahead" in alone


def test_the_curve_is_the_best_so_far_from_the_first_success():
    table = tables.curves([search([0.3, 0.5, 0.4], failed={0})])
    assert table.top1.tolist() == [0.5, 0.5] and table.trials.tolist() == [2, 3] and table.epochs.tolist() == [4, 6]


def test_costs_and_trials_stand_beside_the_search_they_are_of():
    searches = [search([0.5, 0.6], "rs", seed=1, failed={0})]
    (cost,) = tables.cost_table(searches).itertuples(index=False)
    assert tuple(cost) == ("mnist5k", "rs", 1, 2.0, 0.5)
    first, second = tables.trials_table(searches).itertuples()
    assert (first.seed, first.trial, second.top1, second.lr) == (1, 0, 0.6, 0.02) and first.top1 != first.top1


def test_stopping_counts_chains_and_what_was_saved():
    history = History()
    for fidelity, parent, final in ((1, None, False), (2, 0, True), (1, None, False), (1, None, False)):
        id = history.ask(suggestion := Suggestion({"lr": 0.1 * len(history)}, fidelity, parent=parent, final=final))
        history.finish(Trial(**vars(suggestion), id=id, metrics={"top1": 0.5}, epochs=1, asked=id + 1))
    row = tables.stopping_table([AnySearch("ax_stop", 0, history, PROBLEM)]).iloc[0]
    assert (row.configurations, row.stopped, row.epochs, row.epochs_unstopped) == (3, 2, 4, 6)
