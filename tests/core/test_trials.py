"""The history that optimizers are told."""

from jahslib.core.trials import History, Suggestion, Trial


def test_a_suggestion_lost_in_flight_holds_its_place_and_is_not_pending():
    history, made = History(), Suggestion({"x": 1}, 3)
    later = Trial({"x": 3}, 9, id=2)
    history.recall(made, later)
    history.recall(None, later)
    assert history.pending == {0: made} and len(history.suggestions) == len(history.events) == 2
    assert history.ask(later.suggestion()) == 2
    history.finish(later)
    assert [t.id for t in history] == [2] and list(history.pending) == [0]
