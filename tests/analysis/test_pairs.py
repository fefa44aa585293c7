"""Methods compared on the same seeds, verdicts, and answers to claims."""

import numpy as np
import pandas as pd
import pytest

from jahslib.analysis.pairs import answer, claim, claims_table, paired_table, verdict


def table(lead=0.1, seeds=8, **others):
    """Errors of BO, ahead of random search by `lead` on every seed, and of other methods."""
    base = np.arange(seeds) / 100 + 0.3
    values = {"BO": base - lead, "random": base} | {name: base + more for name, more in others.items()}
    rows = [{"method": m, "seed": seed, "error": v} for m, of in values.items() for seed, v in enumerate(of)]
    return pd.DataFrame(rows)


def test_pairs_are_by_seed_and_below_zero_where_the_first_has_less():
    lone = pd.DataFrame([{"method": "random", "seed": 99, "error": 0.0}])  # which has no partner
    (row,) = paired_table(pd.concat([table(), lone]), ["BO"], ["error"], lowest=True).itertuples()
    assert (row.first, row.second, row.n, row.above, row.leader) == ("BO", "random", 8, 0, "BO")
    assert (row.difference, row.low, row.high) == pytest.approx((-0.1,) * 3) and row.p < 0.05 and row.told_apart
    (more,) = paired_table(table(), ["BO"], ["error"]).itertuples()
    assert more.leader == "random"  # where more is better


def test_holms_correction_is_over_the_whole_table():
    tasks = pd.concat(table(0.1, seeds=6).assign(task=task) for task in ("one", "two"))
    found = paired_table(tasks, ["BO"], ["error"], lowest=True)
    assert found.task.tolist() == ["one", "two"] and found.p.tolist() == pytest.approx([1 / 32] * 2)
    assert found.p_holm.tolist() == pytest.approx([1 / 16] * 2) and not found.told_apart.any()


def test_tasks_may_be_told_apart_by_several_columns():
    rows = pd.concat(table(lead, seeds=6).assign(pool=pool, n=n) for pool, n, lead in (("a", 1, 0.1), ("b", 1, -0.1)))
    found = paired_table(rows, ["BO"], ["error"], by=["pool", "n"])
    assert found.columns[:2].tolist() == ["pool", "n"] and found.pool.tolist() == ["a", "b"]
    assert found.difference.tolist() == pytest.approx([-0.1, 0.1])


def test_claims_are_corrected_together_and_one_without_pairs_is_no_test():
    six = table(0.1, seeds=6)
    found = claims_table([claim("", six, "error", "random", name) for name in ("BO", "BO", "nobody")])
    assert found.p_holm[:2].tolist() == pytest.approx([1 / 16] * 2) and np.isnan(found.p_holm[2])
    none = claims_table([])
    assert none.empty and list(none) == list(found)


def test_equal_methods_are_not_told_apart_and_without_a_rival_there_is_no_pair():
    assert not paired_table(table(0.0), ["BO"], ["error"]).told_apart.any()
    alone = table()[lambda t: t.method == "BO"]
    assert paired_table(alone, ["BO"], ["error"]).empty
    assert paired_table(table(), ["BO"], ["error"], others=["nobody"]).empty


def test_a_verdict_has_the_leader_those_behind_and_whom_the_test_tells_from_it():
    (said,) = verdict(table(EA=-0.1), "error", lowest=True)
    assert (said["leader"], said["behind"], said["told_apart"]) == ("BO", ["EA", "random"], ["random"])
    assert [(m["method"], m["n"]) for m in said["methods"]] == [("BO", 8), ("EA", 8), ("random", 8)]
    assert said["methods"][0]["mean"] == pytest.approx(0.235)


def test_a_method_with_fewer_values_is_behind_whatever_their_mean():
    values = table(0.1, seeds=2).assign(task="cells")
    values.loc[(values.method == "BO") & (values.seed == 0), "error"] = np.nan  # nothing feasible was found
    values.loc[len(values)] = ["nothing", 0, np.nan, "cells"]
    (said,) = verdict(values, "error", lowest=True)
    assert said["task"] == "cells" and said["leader"] == "random" and said["behind"] == ["BO", "nothing"]
    assert [(m["n"], m["mean"] is None) for m in said["methods"]] == [(2, False), (1, False), (0, True)]


@pytest.mark.parametrize(
    ("low", "high", "n", "more", "said"),
    [
        (0.011, 0.03, 5, {}, "reproduced"),
        (0.001, 0.03, 5, {}, "reproduced"),
        (-0.03, -0.001, 5, {}, "contradicted"),
        (-0.01, 0.01, 5, {}, "equal within the margin"),
        (0.001, 0.004, 5, {}, "equal within the margin"),
        (0.001, 0.004, 5, {"margin": 0.002}, "reproduced"),
        (-0.001, 0.03, 5, {}, "cannot tell"),
        (0.02, 0.03, 4, {}, "cannot tell"),
        (-0.01, 0.01, 5, {"claimed": "equal"}, "reproduced"),
        (0.011, 0.02, 5, {"claimed": "equal"}, "contradicted"),
        (-0.03, -0.02, 5, {"claimed": "equal"}, "contradicted"),
        (0.005, 0.02, 5, {"claimed": "equal"}, "cannot tell"),
    ],
)
def test_the_four_answers(low, high, n, more, said):
    assert answer(low, high, n, **more) == said


def test_a_claim_is_of_a_method_against_another_or_a_number():
    found = claim("less is more", table(), "error", "random", "BO", reported=0.2)
    assert found["difference"] == pytest.approx(0.1) and found["reported"] == 0.2
    assert (found["claim"], found["n"], found["answer"]) == ("less is more", 8, "reproduced")
    assert claim("", table(), "error", "BO", 0.235, claimed="equal", margin=0.05)["answer"] == "reproduced"
    for second in ("nobody", "BO"):  # a method is no rival of itself
        found = claim("", table(), "error", "BO", second)
        assert (found["n"], found["answer"]) == (0, "cannot tell") and np.isnan(found["difference"])
