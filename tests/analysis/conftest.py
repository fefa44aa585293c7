"""Finished searches over growing networks, made up."""

from copy import copy
from dataclasses import replace

from jahslib.core.trials import History, Suggestion, Trial
from jahslib.problems.growing_convnet import GrowingConvNets
from jahslib.search.runs import AnySearch

PROBLEM = GrowingConvNets(data="mnist5k", per_class=30, min_epochs=1, max_epochs=3, folds_used=1)


def search(rows, method="bohb", seed=0, label="BOHB growing", tests=()):
    """Of (fidelity, accuracy, params) trials, a minute each."""
    history = History()
    for fidelity, top1, params in rows:
        c = {"learning_rate_init": 0.01, "n_conv_layers": 3, "n_fc_layers": 0, "conv_trigger_threshold": 0.2}
        suggestion = Suggestion(c, fidelity, final=fidelity == PROBLEM.max_epochs)
        id = history.ask(suggestion)
        metrics = {"top1": top1, "params": params}
        history.finish(
            Trial(**vars(suggestion), id=id, metrics=metrics, epochs=fidelity, elapsed=60.0 * (id + 1), asked=id + 1)
        )
    return AnySearch(method, seed, history, PROBLEM, label=label, name=f"{method}-seed{seed}", tests=tests)


def backwards(searches):
    """The same, had every trial been done before the one proposed before it, as may be with several workers."""
    made = []
    for s in searches:
        history = copy(s.history)
        history.trials = s.history.trials[::-1]
        made.append(replace(s, history=history))
    return made


def final(top1, widths=(9, 12, 14), params=5000.0):
    trace = {"step": [1.0, 2.0], "params": [1000.0, params]} | {f"width_{i}": [8, w] for i, w in enumerate(widths)}
    fold = {"widths": list(widths), "n_conv": len(widths), "top1": top1, "params": params, "trace": trace}
    return Trial({}, 3, epochs=3, metrics={"top1": top1, "params": params}, outputs={"folds": [fold]})
