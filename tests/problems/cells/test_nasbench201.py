"""The NAS-Bench-201 table as a problem; what needs the table itself is skipped where it is absent."""

import gzip

import numpy as np
import pytest

from jahslib.core.problem import Job
from jahslib.errors import UserError
from jahslib.optimizers.random_search import RandomSearch
from jahslib.problems.cells import nasbench201
from jahslib.problems.cells.nasbench201 import NasBench201
from jahslib.search import Budget, search
from jahslib.spaces.grammars import examples

table = pytest.mark.skipif(not nasbench201.at_hand(), reason="the NAS-Bench-201 table is not at hand")


@table
@pytest.mark.parametrize(("data", "best"), [("cifar10", 94.373), ("cifar100", 73.513), ("ImageNet16-120", 47.311)])
def test_the_published_optima(data, best):
    problem = NasBench201(data)
    assert 100 * (1 - problem.best_test()) == pytest.approx(best, abs=6e-4)


@table
def test_every_term_of_the_grammar_has_its_row_and_size():
    """Sizes follow the closed form .073306 + .24304 n(3x3) + .028 n(1x1) million, which proves the operations' names
    and, with the optima, that a row belongs to its cell."""
    errors = NasBench201("cifar10").errors()
    terms = list(examples.grammar("cell-based").enumerate())
    assert set(map(str, terms)) == set(errors.index) and len(errors) == 15_284
    for term in terms[::50]:
        heads = [c.head for c in term.children]
        expected = 73_306 + 243_040 * heads.count("conv3x3") + 28_000 * heads.count("conv1x1")
        assert errors.params[str(term)] == pytest.approx(expected, abs=1001)


@table
def test_early_errors_rank_late_errors():
    for data, expected in (("cifar10", 0.772), ("cifar100", 0.825), ("ImageNet16-120", 0.818)):
        table = NasBench201(data).errors()
        assert table.val_error.corr(table.test_error, method="spearman") == pytest.approx(expected, abs=0.02)


@table
def test_a_search_looks_values_up(tmp_path):
    problem = NasBench201("cifar100")
    history = search(problem, RandomSearch(problem, 0), Budget(trials=5), tmp_path / "log.jsonl", seed=0)
    for trial in history:
        row = problem.errors().loc[trial.configuration["architecture"]]
        assert trial.metrics == dict(row) and trial.epochs == 12


def test_the_benchmarks_notation():
    arch = "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_3x3~2|"
    assert nasbench201.cell(arch).algebraic() == "Cell(conv3x3, zero, conv1x1, id, avg_pool, conv3x3)"


def test_an_absent_or_damaged_table_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("JAHSLIB_DATA", str(tmp_path))
    monkeypatch.setattr("jahslib.data.places.ROOT", tmp_path / "elsewhere")
    monkeypatch.setattr("jahslib.data.places.SYSTEM", tmp_path / "system")
    assert not nasbench201.at_hand()
    job = Job(NasBench201().space.sample(np.random.default_rng(0)), (12,), seed=0)
    with pytest.raises(UserError, match=r"no nasbench201_compact.csv.gz in \$JAHSLIB_DATA \(searched\), data/ or"):
        NasBench201().evaluate(job)
    (tmp_path / nasbench201.FILE).write_bytes(gzip.compress(b"index,arch_str\n0,|none~0|\n"))
    with pytest.raises(UserError, match="has 1 cells instead of 15,625"):
        NasBench201().evaluate(job)
    whole = gzip.compress(b"index,arch_str\n" * 99, mtime=0)
    for damaged in (b"no gzip", whole[:-9], whole[:12] + b"\xff" + whole[13:], gzip.compress(b"other\n1\n")):
        (tmp_path / nasbench201.FILE).write_bytes(damaged)
        nasbench201._read.cache_clear()
        with pytest.raises(UserError, match=r"nasbench201_compact.csv.gz is (truncated|damaged).*; replace it"):
            NasBench201().evaluate(job)


def test_refuses_another_data_set():
    with pytest.raises(UserError, match="data 'mnist' is unknown"):
        NasBench201("mnist")
