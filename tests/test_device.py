"""What travels to a device that is lent for minutes, that a span there ends in time, and that the next goes on."""

import signal
import subprocess
import tarfile
import time
import zipfile
from functools import partial

import pytest
import torch

from benchmarks.campaign import entries
from benchmarks.campaign.running import Entry
from benchmarks.device import loops, packing, span
from benchmarks.device.__main__ import main as command
from jahslib.core.problem import Job
from jahslib.errors import UserError
from jahslib.optimizers.random_search import RandomSearch
from jahslib.search import Budget, provenance, triallog
from jahslib.search.runs import Run
from tests.conftest import decisions
from tests.test_campaign import DATA
from tests.toys import Toy


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path / "outputs"))
    return tmp_path / "outputs"


def a_span(out, seconds=60.0):
    return span.Span("cpu", seconds, out, time.monotonic())


class TestPack:
    @pytest.fixture
    def project(self, tmp_path, monkeypatch):
        """A committed project of a file a folder, its data and a wheel."""
        root = tmp_path / "project"
        for name in packing.TRACKED:
            file = root / (name if "." in name else f"{name}/file.py")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("$Format:%H$\n" if name == ".git_archival.txt" else name)
        (root / ".gitattributes").write_text(".git_archival.txt export-subst\n")
        git = ["git", "-C", root, "-c", "user.name=n", "-c", "user.email=e"]
        for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
            subprocess.run([*git, *arguments], check=True)
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "set.gz").write_bytes(b"images")
        (tmp_path / "wheels").mkdir()
        with zipfile.ZipFile(tmp_path / "wheels" / "some-1-py3-none-any.whl", "w") as wheel:
            wheel.writestr("some/__init__.py", "")
            wheel.writestr("some/tests/test_some.py", "")
        monkeypatch.setattr(packing.paths, "ROOT", root)
        monkeypatch.setattr(packing, "DATA", ("set.gz",))
        monkeypatch.setenv("JAHSLIB_DATA", str(tmp_path / "data"))
        return root

    def test_what_is_committed_travels_with_data_logs_and_packages(self, project, results, tmp_path, monkeypatch):
        log = results / "results" / "paper" / "a.jsonl"
        log.parent.mkdir(parents=True)
        log.write_text("{}\n")
        sizes = packing.pack(tmp_path / "out.tar.xz", [log], wheels=tmp_path / "wheels")
        with tarfile.open(tmp_path / "out.tar.xz") as archive:
            names = set(archive.getnames())
            archive.extractall(tmp_path / "there", filter="data")
        assert {"jahslib/file.py", "tests/file.py", "pyproject.toml", "data/set.gz", "results/paper/a.jsonl"} <= names
        assert "site/some/__init__.py" in names and not [name for name in names if "site/some/tests" in name]
        assert sizes["data"] == 6 and sizes["archive"] == (tmp_path / "out.tar.xz").stat().st_size
        there = tmp_path / "there"
        (there / "pyproject.toml").write_text('name = "jahslib"\n')
        monkeypatch.setattr(provenance, "ROOT", there)
        provenance.commit.cache_clear()
        head = subprocess.run(["git", "-C", project, "rev-parse", "HEAD"], capture_output=True, text=True).stdout
        assert provenance.commit() == head[:12], "logs made there would not tell the code"
        provenance.commit.cache_clear()

    @pytest.mark.parametrize("fault", ["uncommitted", "too large", "no data"])
    def test_what_would_be_wrong_there_is_refused_and_nothing_is_left(self, project, tmp_path, monkeypatch, fault):
        if fault == "uncommitted":
            (project / "jahslib" / "file.py").write_text("changed")
        elif fault == "too large":
            monkeypatch.setattr(packing, "LIMIT", 100)
        else:
            monkeypatch.setattr(packing, "DATA", ("other.gz",))
        before = set(tmp_path.iterdir())
        with pytest.raises(UserError):
            packing.pack(tmp_path / "out.tar.xz", [], wheels=tmp_path / "wheels")
        assert set(tmp_path.iterdir()) == before

    def test_the_lock_has_every_package(self):
        pins = packing.pins(packing.PACKAGES)
        assert len(pins) == len(packing.PACKAGES) and all("==" in pin for pin in pins)


class Counted(Toy):
    """Tells how often it was evaluated; the time is over in the middle of one of its trials."""

    evaluated, over_at = 0, 0

    def evaluate(self, job: Job):
        Counted.evaluated += 1
        if Counted.evaluated == Counted.over_at:
            signal.raise_signal(signal.SIGALRM)
        return super().evaluate(job)


def search(results, name, trials=40):
    problem = Counted()
    names = {"method": "rs", "study": "00_toy", "profile": "smoke"}
    log = results / "results" / "smoke" / f"{name}.jsonl"
    return Run(problem, RandomSearch(problem, 0), Budget(trials=trials), log, 0, **names)


class TestSpan:
    def test_the_next_span_goes_on_where_the_time_was_over(self, results, tmp_path, monkeypatch):
        monkeypatch.setattr(Counted, "evaluated", 0)
        monkeypatch.setattr(Counted, "over_at", 8)
        run, whole = search(results, "a"), search(tmp_path, "whole")
        listed = [Entry("a", 0.1, lambda: run)]
        assert a_span(tmp_path / "1").run(["searches"], lambda: listed) == 0
        begun = triallog.read(run.log)
        assert len(begun.trials) == 7 and begun.end is None and all(t.status == "ok" for t in begun.trials)
        with tarfile.open(tmp_path / "1" / "logs.tar.gz") as archive:
            assert archive.getnames() == ["results/smoke/a.jsonl"]
        assert a_span(tmp_path / "2").run(["searches"], lambda: listed) == 0
        assert Counted.evaluated == 8 + 40 - 7, "a finished trial was trained again"
        assert decisions(triallog.read(run.log).trials) == decisions(list(whole()))
        report = (tmp_path / "2" / "report.md").read_text()
        assert "| a | 7 of 40 trials | done |" in report

    def test_what_fails_is_told_and_the_rest_is_run(self, results, tmp_path):
        def refuse():
            raise UserError("data are missing")

        run = search(results, "b", trials=2)
        here = a_span(tmp_path / "out")
        assert here.run(["searches"], lambda: [Entry("x", 0.1, refuse), Entry("b", 0.1, lambda: run)]) == 1
        report = (tmp_path / "out" / "report.md").read_text()
        assert "| x | cannot be run: data are missing |" in report and "| b | not begun | done |" in report
        assert "could not be run: x." in report

    def test_a_part_that_is_cut_off_leaves_gradients_on(self):
        with pytest.raises(span.OutOfTime), span.within(60):
            torch.set_grad_enabled(False)
            raise span.OutOfTime
        assert torch.is_grad_enabled()

    def test_a_row_that_takes_too_long_costs_no_other(self, tmp_path):
        here = a_span(tmp_path)
        begun = time.monotonic()
        units = [("slow", partial(time.sleep, 60)), ("wrong", lambda: str(1 / 0)), ("good", lambda: "1 | 2")]
        assert here.rows(units, begun + 0.6, 2) == 1 and time.monotonic() - begun < 5
        assert here.report[0] == "| slow | out of time | |" and here.report[2] == "| good | 1 | 2 |"
        assert here.report[1].startswith("| wrong | failed: ZeroDivisionError")

    def test_every_part_ends_in_time(self, results, tmp_path, monkeypatch):
        monkeypatch.setattr(span, "RESERVE", 0.5)
        assert a_span(tmp_path, 4.0).run(["checks", "speed"], list) == 0
        report = (tmp_path / "report.md").read_text()
        assert "out of time" in report and all(report.count(f"| {loop.name} ") == 1 for loop in loops.LOOPS)

    def test_trainings_that_differ_are_no_match(self, tmp_path):
        class Other(loops.Loop):
            def ours(self, device, **how):
                return iter([1.0, 0.9, 0.8] if how["bf16"] else [1.2, 0.9, 0.8]).__next__

        other = Other("other", {}, 1, loops.LOOPS[0].recipe)
        here = a_span(tmp_path)
        assert here.apart(other, span.EXACT, span.EXACT).startswith("0.0e+00")
        with pytest.raises(AssertionError, match=r"1\.7e-01"):
            here.apart(other, span.HALF, span.EXACT, learns=True)


@pytest.mark.slow
@pytest.mark.parametrize("loop", loops.CHECKED, ids=lambda loop: loop.name)
def test_every_loop_trains_beside_an_ordinary_one_that_learns_the_same(loop):
    ours, ordinary = loop.ours("cpu", **span.EXACT), loop.ordinary("cpu")
    for epoch in (ours, ordinary):
        losses = [epoch() for _ in range(2)]
        assert losses[1] < 1.5 * losses[0]


class TestList:
    @pytest.mark.skipif(not DATA, reason="needs micro17flower at hand")
    def test_given_configurations_come_first_and_endless_searches_last(self, results):
        names = [entry.name for entry in entries.on_device("cpu")]
        assert names[:2] == ["07 retrained-published_7", "07 retrained-published_1"]
        searches = names.index("07 ea_hb-seed0")
        assert all(name.startswith("07 retrained") for name in names[:8]) and searches < names.index("07 ea_hb-seed42")
        assert [n[:2] for n in names[8:searches]] == ["06"] * (searches - 8)

    def test_a_study_that_cannot_be_made_leaves_the_others(self, results, monkeypatch):
        given = entries.experiment

        def lacking(study, parameters):
            if study.startswith("06"):
                raise UserError("ax is not installed")
            return given(study, parameters)

        monkeypatch.setattr(entries, "experiment", lacking)
        listed = list(entries.on_device("cpu", "smoke"))
        with pytest.raises(UserError, match="ax is not installed"):
            listed[0].make()
        assert listed[1].name == "07 ea_hb-seed0" and span.logs_of(listed) == []


@pytest.mark.parametrize(("option", "value"), [("--parts", "games"), ("--device", "cuda:99")])
def test_what_there_is_not_is_refused_in_one_line(tmp_path, capsys, option, value):
    assert command(["run", "--out", str(tmp_path / "out"), option, value]) == 2
    assert value in capsys.readouterr().err and not (tmp_path / "out").exists()
