import numpy as np
import pytest

from jahslib.core.trials import Trial
from jahslib.errors import UserError
from jahslib.optimizers import hyperband
from jahslib.optimizers.published_evolution import PublishedEvolution
from jahslib.search import Budget, search
from jahslib.spaces import configurations as spaces
from tests.conftest import PRECISION, SIZE, Toy


def member(accuracy, precision, id=0):
    return Trial({}, 9, id=id, metrics={"accuracy": accuracy, "precision": precision, "size": 1})


def test_feasible_members_come_first_then_those_that_violate_least():
    """The original's worked example, as (accuracy, precision) with a floor of .39."""
    problem = Toy([type(PRECISION)("precision", ">=", 0.39)])
    members = [member(0.95, 0.20), member(0.80, 0.46), member(0.75, 0.30), member(0.85, 0.45)]
    ordered = sorted(members, key=problem.rank)
    assert [(t.metrics["accuracy"], t.metrics["precision"]) for t in ordered] == [
        (0.85, 0.45),
        (0.80, 0.46),
        (0.75, 0.30),
        (0.95, 0.20),
    ]


def test_a_failed_member_comes_last():
    problem = Toy([PRECISION])
    failed = Trial({}, 9, id=1, status="failed")
    assert sorted([failed, member(0.1, 0.0)], key=problem.rank)[-1] is failed


class TestVariation:
    def setup_method(self):
        self.problem = Toy([SIZE, PRECISION])
        self.evolution = PublishedEvolution(self.problem, 0, frozen=("layers",))
        self.rng = np.random.default_rng(0)
        self.parents = [spaces.sample_where(self.problem.space, self.rng, self.problem.admits) for _ in range(200)]

    def test_a_mutation_is_small_enough_and_changes_few_genes(self):
        changed = []
        for parent in self.parents:
            child = self.evolution.mutate(parent, self.rng)
            assert self.problem.admits(child) and child == spaces.complete(self.problem.space, child)
            changed.append(sum(child.get(k) != parent.get(k) for k in set(child) | set(parent)))
        assert 0.5 < np.mean(changed) < 2

    def test_a_mutation_that_is_too_large_is_kept_and_mended_by_another(self):
        """With all but the smallest sizes forbidden, many single mutations must be followed by a second."""
        tight = Toy([type(SIZE)("size", "<=", 30)])
        evolution = PublishedEvolution(tight, 0)
        parents = [spaces.sample_where(tight.space, self.rng, tight.admits) for _ in range(200)]
        children = [evolution.mutate(p, self.rng) for p in parents]
        assert all(tight.admits(c) for c in children)
        differing = [sum(c.get(k) != p.get(k) for k in set(c) | set(p)) for p, c in zip(parents, children, strict=True)]
        assert max(differing) >= 3

    def test_recombination_takes_each_gene_from_one_of_the_two_and_never_a_frozen_one(self):
        from_partner = 0
        for parent, partner in zip(self.parents, reversed(self.parents), strict=True):
            child = self.evolution.recombine(parent, partner, self.rng)
            assert child["layers"] == parent["layers"] and set(child) == set(parent)
            assert all(child[k] in (parent[k], partner.get(k)) for k in child)
            from_partner += child["rate"] == partner["rate"]
        assert 70 <= from_partner <= 130

    def test_neutral_parents_are_drawn_without_replacement(self):
        population = [member(0.5, 0.5, id=i) for i in range(6)]
        drawn = self.evolution._parents(population, 6, self.rng)
        assert sorted(t.id for t in drawn) == list(range(6))

    def test_tournament_prefers_the_better_half(self):
        evolution = PublishedEvolution(self.problem, 0, parent_selection="tournament")
        population = [member(0.5, 0.5, id=i) for i in range(10)]
        ids = [t.id for t in evolution._parents(population, 2000, self.rng)]
        assert np.mean(ids) == pytest.approx(2.85, abs=0.2)  # E[min of two uniform draws from 0..9]


class TestHyperbandStep:
    @pytest.fixture
    def history(self, tmp_path):
        problem = Toy([SIZE, PRECISION], high=8)
        optimizer = PublishedEvolution(problem, 1, pop_size=5, num_children=3, hyperband=True)
        return search(problem, optimizer, Budget(trials=5 + 2 * 29), tmp_path / "log.jsonl", seed=1)

    def test_follows_the_plan(self, history):
        expected = [
            (number, level, rung.fidelity)
            for number, rungs in enumerate(hyperband.plan(1, 8) * 2)
            for level, rung in enumerate(rungs)
            for _ in range(rung.members)
        ]
        ran = [(t.bracket, t.rung, t.fidelity) for t in history if t.bracket is not None]
        assert ran == expected[: len(ran)] and len(ran) > 30

    def test_promotes_the_best_of_each_rung_and_continues_their_training(self, history):
        problem = Toy([SIZE, PRECISION], high=8)
        rungs = {}
        for t in history:
            if t.bracket is not None:
                rungs.setdefault((t.bracket, t.rung), []).append(t)
        for (bracket, level), trials in rungs.items():
            if level == 0 or len(rungs[bracket, level - 1]) < len(trials):
                continue
            best = sorted(rungs[bracket, level - 1], key=problem.rank)[: len(trials)]
            assert [t.parent for t in trials] == [t.id for t in best]
            assert [t.configuration for t in trials] == [t.configuration for t in best]

    def test_only_last_rungs_are_final(self, history):
        assert all(t.final == (t.fidelity == 8) for t in history)


def test_the_same_seed_starts_ea_and_ea_hb_from_the_same_population(tmp_path):
    problem = Toy([SIZE])
    starts = [
        [
            t.configuration
            for t in search(
                problem,
                PublishedEvolution(problem, 4, pop_size=6, hyperband=hb),
                Budget(trials=6),
                tmp_path / f"{hb}.jsonl",
                seed=4,
            )
        ]
        for hb in (False, True)
    ]
    assert starts[0] == starts[1]


@pytest.mark.parametrize("bad", [{"pop_size": 0}, {"num_children": -1}, {"parent_selection": "roulette"}])
def test_refuses_bad_settings(bad):
    with pytest.raises(UserError, match=r"(?i)evolution"):
        PublishedEvolution(Toy(), 0, **bad)
