"""Tables of searches for training hyperparameters, from made-up histories."""

from dataclasses import replace

import pytest

from jahslib.analysis import hyperparameters as tables
from jahslib.analysis.tables import choosing
from jahslib.core.trials import History, Suggestion, Trial
from jahslib.problems.tuned_network import TunedNetwork
from jahslib.search.runs import AnySearch

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


def test_choosing_is_what_a_search_took_beyond_training_the_first_left_out():
    assert choosing(search([0.1, 0.2, 0.3], wait=0.25).history) == pytest.approx([0.25, 0.25])


def test_choosing_leaves_out_what_a_resumed_search_proposes_again():
    history = search([0.1, 0.2, 0.3, 0.4], wait=0.25).history
    for i, trial in enumerate(history.trials):  # killed after the second
        history.trials[i] = replace(trial, finished=trial.elapsed + (100.0 if i >= 2 else 0.0))
    assert choosing(history) == pytest.approx([0.25, 0.25])


def test_a_trial_that_failed_or_ended_worse_than_guessing_has_diverged():
    history = search([0.1, 0.5, 0.5], failed={0}).history
    history.trials[1] = replace(history.trials[1], curve={"train_loss": [2.3, 2.5]})
    assert tables.diverged(AnySearch("rs", 0, history, PROBLEM)) == 2


def test_stopping_counts_chains_and_what_was_saved():
    history = History()
    for fidelity, parent, final in ((1, None, False), (2, 0, True), (1, None, False), (1, None, False)):
        id = history.ask(suggestion := Suggestion({"lr": 0.1 * len(history)}, fidelity, parent=parent, final=final))
        history.finish(Trial(**vars(suggestion), id=id, metrics={"top1": 0.5}, epochs=1, asked=id + 1))
    row = tables.stopping_table([AnySearch("ax_stop", 0, history, PROBLEM)]).iloc[0]
    assert (row.configurations, row.stopped, row.epochs, row.epochs_unstopped) == (3, 2, 4, 6)
