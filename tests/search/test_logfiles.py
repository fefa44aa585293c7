"""Compressed logs are read, resumed and extended as plain ones are, and no kill in between loses a line."""

import gzip
import lzma
import os

import pandas as pd
import pytest

from jahslib import __main__ as command_line
from jahslib.core.optimizer import Listed
from jahslib.errors import UserError
from jahslib.optimizers.random_search import RandomSearch
from jahslib.search import Budget, logfiles, packs, search, triallog
from jahslib.search.runs import Run, run_all
from jahslib.search.search import fingerprint
from jahslib.search.status import status
from jahslib.search.triallog import LogWriteError
from jahslib.search.watch import Watch
from tests.conftest import Toy


def run(path, trials=4, seed=0, **options):
    toy = Toy()
    return search(toy, RandomSearch(toy, seed), Budget(trials=trials), path, seed=seed, **options)


def configurations(history):
    return [t.configuration for t in history]


@pytest.fixture
def log(tmp_path):
    """The name of a finished search's log that was compressed."""
    path = tmp_path / "logs" / "a.jsonl"
    run(path)
    path.with_suffix(".before").write_bytes(path.read_bytes())
    assert logfiles.compress(path)
    return path


def before(log):
    return log.with_suffix(".before").read_bytes()


def forms(log):
    return sorted(file.name for file in log.parent.glob("[!.]*.jsonl*"))


def killed(at, monkeypatch, function):
    """Call a function in a process that is gone without a word where it comes to `at`."""
    pid = os.fork()
    if not pid:
        monkeypatch.setattr(at, lambda *_, **__: os._exit(9))
        function()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9


def test_the_compressed_form_stands_alone_and_needs_nothing_of_ours_to_be_read(log):
    assert forms(log) == ["a.jsonl.gz"] and logfiles.exists(log)
    packed = logfiles.packed(log)
    assert gzip.decompress(packed.read_bytes()) == logfiles.content(log) == before(log)
    assert len(pd.read_json(packed, lines=True).query("kind == 'trial'")) == 4


def test_the_same_log_gives_the_same_bytes(log):
    first = logfiles.packed(log).read_bytes()
    logfiles.packed(log).unlink()
    log.write_bytes(before(log))
    os.utime(log, (0, 0))
    assert logfiles.compress(log) and logfiles.packed(log).read_bytes() == first
    assert not logfiles.compress(log), "it is already"


def test_it_is_read_by_either_name(log):
    read = [triallog.read(name) for name in (log, logfiles.packed(log))]
    assert read[0] == read[1] and len(read[0].trials) == 4 and read[0].end
    assert logfiles.found(log.parent) == [log]
    watch = Watch(log)
    watch.look()
    assert (watch.trials, bool(watch.end), watch.trouble) == (4, True, "")
    (row,) = status(log.parent, logs=True).to_dict("records")
    assert (row["log"], row["state"], row["trials"]) == ("a", "finished", 4)


@pytest.mark.parametrize("trials", [4, 2])
def test_a_search_that_adds_nothing_leaves_it_compressed(log, trials):
    packed = logfiles.packed(log).read_bytes()
    assert len(run(log, trials)) == trials
    assert forms(log) == ["a.jsonl.gz"] and logfiles.packed(log).read_bytes() == packed


def test_planned_runs_know_it(log):
    toy = Toy()
    made = Run(toy, RandomSearch(toy, 0), Budget(trials=4), log, 0, "rs", "", "smoke")
    made.check()
    assert len(run_all([made])["a"]) == 4 and forms(log) == ["a.jsonl.gz"]
    with pytest.raises(UserError, match="made by another search"):
        Run(toy, Listed(toy, 0, []), Budget(trials=4), log, 0, "rs", "", "smoke").check()


@pytest.mark.parametrize("name", [".jsonl", ".jsonl.gz"])
def test_a_larger_budget_unpacks_it_and_goes_on(log, name, tmp_path):
    whole = run(tmp_path / "whole.jsonl", trials=6)
    assert configurations(run(log.with_suffix("").with_suffix(name), trials=6)) == configurations(whole)
    assert forms(log) == ["a.jsonl"] and log.read_bytes().startswith(before(log))


def test_starting_over_replaces_it(log):
    run(log, trials=3, fresh=True)
    assert forms(log) == ["a.jsonl"] and len(triallog.read(log).trials) == 3


def test_a_second_writer_is_refused_while_one_reads_or_writes_it(log):
    made = {"fingerprint": fingerprint(Toy(), RandomSearch(Toy(), 0), 0)}
    held = triallog.TrialLog(log, made)
    for _ in range(2):
        with pytest.raises(UserError, match="in use"):
            triallog.TrialLog(log, made)
        assert not logfiles.compress(log), "in use, or compressed already"
        held.make_extendable()
    held.close()


@pytest.mark.parametrize("at", ["os.replace", "jahslib.search.logfiles._remove"])
def test_a_kill_while_it_is_unpacked_or_compressed_loses_nothing(log, at, monkeypatch, tmp_path):
    whole = configurations(run(tmp_path / "whole.jsonl", trials=6))
    killed(at, monkeypatch, lambda: run(log, trials=6))
    assert logfiles.content(log) == before(log)
    assert configurations(run(log, trials=6)) == whole and forms(log) == ["a.jsonl"]
    extended = log.read_bytes()
    killed(at, monkeypatch, lambda: logfiles.compress(log))
    assert logfiles.content(log) == extended
    assert configurations(run(log, trials=6)) == whole
    logfiles.compress(log)
    assert forms(log) == ["a.jsonl.gz"] and logfiles.content(log) == extended


def test_both_forms_are_taken_where_the_plain_one_has_all_and_refused_else(log):
    log.write_bytes(before(log))
    run(log, trials=6)
    assert forms(log) == ["a.jsonl"], "what is written to has no second form"
    logfiles.packed(log).write_bytes(gzip.compress(before(log)))  # got back, from version control say
    assert len(triallog.read(log).trials) == len(run(log, trials=6)) == 6
    log.write_bytes(before(log).replace(b'"id": 3', b'"id": 4', 1))
    for read in (triallog.read, lambda log: run(log, trials=6)):
        with pytest.raises(UserError, match=r"is not what a.jsonl.gz beside it holds; move one of the two away"):
            read(log)


def test_a_damaged_one_is_named(log):
    packed = logfiles.packed(log)
    packed.write_bytes(packed.read_bytes()[:-20])
    for read in (triallog.read, run):
        with pytest.raises(UserError, match=r"a.jsonl.gz: is damaged"):
            read(log)
    watch = Watch(log)
    watch.look()
    assert watch.trouble.startswith("cannot be read")


def test_one_that_cannot_be_unpacked_says_so_before_training(log, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(logfiles, "_written", full)
    with pytest.raises(LogWriteError, match=r"cannot be extended \(No space left"):
        run(log, trials=6)
    assert forms(log) == ["a.jsonl.gz"] and len(triallog.read(log).trials) == 4


def test_the_command_compresses_what_is_finished(log, capsys):
    for name in ("b", "unfinished"):
        run(log.with_name(f"{name}.jsonl"))
    unfinished = log.with_name("unfinished.jsonl")
    unfinished.write_bytes(b"".join(unfinished.read_bytes().splitlines(keepends=True)[:-1]))
    assert command_line.main(["compress", str(log.parent)]) == 0
    assert forms(log) == ["a.jsonl.gz", "b.jsonl.gz", "unfinished.jsonl"]
    assert "1 of 3 trial logs compressed" in capsys.readouterr().out
    assert command_line.main(["compress", str(log.parent / "nowhere")]) == 2


@pytest.mark.parametrize("name", ["c.jsonl", "c.jsonl.gz"])
def test_a_link_to_what_is_gone_stays_and_keeps_nothing_from_being_compressed(log, name, capsys):
    run(log.with_name("b.jsonl"))
    log.with_name(name).symlink_to("nowhere")
    assert command_line.main(["compress", str(log.parent)]) == 0
    assert forms(log) == ["a.jsonl.gz", "b.jsonl.gz", name]
    assert "1 of 3 trial logs compressed" in capsys.readouterr().out


def test_a_pack_that_is_a_link_to_what_is_gone_is_named(log, capsys):
    log.with_name("many.jsonl.xz").symlink_to("nowhere")
    assert command_line.main(["compress", str(log.parent)]) == 2
    assert "many.jsonl.xz: cannot be read" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"many\.jsonl\.xz: cannot be read"):
        run(log.with_name("b.jsonl"))


class TestPacks:
    """Many searches of a folder in one file."""

    @pytest.fixture
    def packed(self, tmp_path):
        """The plain bytes of three logs, of which a pack `many` holds two."""
        logs = [tmp_path / "logs" / f"{name}.jsonl" for name in ("b-rs-seed0", "a rs.1", "other")]
        for seed, log in enumerate(logs):
            run(log, seed=seed)
        whole = {log: log.read_bytes() for log in logs}
        assert logfiles.compress(logs[0])
        assert command_line.main(["compress", "--pack", "many", "--logs", "*rs*", str(tmp_path)]) == 0
        return whole

    def test_a_pack_holds_every_log_byte_for_byte_and_pandas_reads_it(self, packed):
        (first, second, _), folder = packed, next(iter(packed)).parent
        assert forms(first) == ["many.jsonl.xz", "other.jsonl"]
        assert logfiles.found(folder) == logfiles.found(folder.parent, "**/*") == sorted(packed)
        assert {log: logfiles.content(log) for log in packed} == packed
        assert logfiles.opened(second).readline() == packed[second].splitlines(keepends=True)[0]
        table = pd.read_json(folder / "many.jsonl.xz", lines=True).query("kind == 'trial'")
        assert table.groupby("seed").size().to_dict() == {0: 4, 1: 4}
        assert logfiles.found(folder, "*s.1") == [second] and not logfiles.exists(folder / "b-rs-seed1.jsonl")
        assert status(folder, logs=True).state.tolist() == ["finished"] * 3

    def test_it_is_extended_to_the_same_bytes_in_any_order(self, packed, tmp_path):
        log = next(iter(packed))
        assert command_line.main(["compress", "--pack", "many", str(tmp_path)]) == 0
        extended = (log.parent / "many.jsonl.xz").read_bytes()
        assert {log: logfiles.content(log) for log in packed} == packed
        for log in packed:
            log.write_bytes(packed[log])
        (log.parent / "many.jsonl.xz").unlink()
        assert command_line.main(["compress", "--pack", "many", str(tmp_path)]) == 0
        assert forms(log) == ["many.jsonl.xz"] and (log.parent / "many.jsonl.xz").read_bytes() == extended

    def test_its_logs_are_unpacked_once_and_only_for_a_log_that_it_holds(self, packed, monkeypatch):
        folder, calls = next(iter(packed)).parent, []
        packs._members.cache_clear()
        packs._contents.cache_clear()
        reading = packs._reading
        monkeypatch.setattr(packs, "_reading", lambda pack: calls.append(pack) or reading(pack))
        for _ in range(3):
            assert len(logfiles.found(folder)) == 3 and logfiles.content(folder / "other.jsonl")
        assert len(calls) == 1, "its first line"
        for _ in range(3):
            assert [logfiles.content(log) for log in packed] == [*packed.values()]
        assert len(calls) == 2

    def test_a_finished_search_is_read_and_the_pack_left_alone(self, packed):
        log = next(iter(packed))
        before = (log.parent / "many.jsonl.xz").read_bytes()
        assert len(run(log)) == 4 and forms(log) == ["many.jsonl.xz", "other.jsonl"]
        assert (log.parent / "many.jsonl.xz").read_bytes() == before
        watch = Watch(log)
        watch.look()
        assert watch.trials == 4 and watch.end and not watch.trouble

    def test_a_search_that_goes_on_stands_beside_its_pack_and_is_packed_again(self, packed, tmp_path):
        log = next(iter(packed))
        assert len(run(log, trials=6)) == 6
        assert forms(log)[0] == log.name and log.read_bytes().startswith(packed[log])
        assert len(triallog.read(log).trials) == 6
        assert command_line.main(["compress", "--pack", "second", str(tmp_path)]) == 2, "it is in the first"
        assert command_line.main(["compress", "--pack", "many", str(tmp_path)]) == 0
        assert forms(log) == ["many.jsonl.xz"] and len(triallog.read(log).trials) == 6

    def test_a_search_that_is_started_over_is_no_rival_of_its_former_self(self, packed, tmp_path):
        log = next(iter(packed))
        assert len(run(log, trials=3, fresh=True)) == len(triallog.read(log).trials) == 3
        assert len(run(log, trials=5)) == 5
        assert command_line.main(["compress", "--pack", "many", str(tmp_path)]) == 0
        assert forms(log) == ["many.jsonl.xz"] and len(triallog.read(log).trials) == 5

    def test_one_in_use_keeps_its_own_file(self, packed, tmp_path):
        other = [*packed][-1]
        held = triallog.TrialLog(other, {"fingerprint": fingerprint(Toy(), RandomSearch(Toy(), 2), 2)})
        command_line.main(["compress", "--pack", "many", str(tmp_path)])
        held.close()
        assert forms(other) == ["many.jsonl.xz", "other.jsonl"] and logfiles.content(other) == packed[other]

    @pytest.mark.parametrize("at", ["os.replace", "jahslib.search.logfiles._remove"])
    def test_a_kill_while_packing_loses_nothing(self, packed, at, monkeypatch):
        other = [*packed][-1]
        pack = other.with_name("many.jsonl.xz")
        killed(at, monkeypatch, lambda: logfiles.pack([other], pack))
        assert {log: logfiles.content(log) for log in packed} == packed
        assert logfiles.pack([other], pack) == 1 and forms(other) == ["many.jsonl.xz"]
        assert {log: logfiles.content(log) for log in packed} == packed

    @pytest.mark.parametrize("name", ["", "..", "a/b"])
    def test_a_pack_has_a_plain_name(self, packed, name, tmp_path):
        assert command_line.main(["compress", f"--pack={name}", str(tmp_path)]) == 2
        assert {log: logfiles.content(log) for log in packed} == packed

    def test_what_differs_from_the_pack_is_refused(self, packed):
        log = next(iter(packed))
        log.write_bytes(packed[log].splitlines(keepends=True)[0])
        with pytest.raises(UserError, match=r"many\.jsonl\.xz"):
            triallog.read(log)

    def test_a_damaged_pack_is_named(self, packed, capsys):
        log = next(iter(packed))
        pack = log.parent / "many.jsonl.xz"
        for content in (pack.read_bytes()[:-9], lzma.compress(packed[log])):
            pack.write_bytes(content)
            with pytest.raises(UserError, match=r"many\.jsonl\.xz"):
                triallog.read(log)

    @pytest.mark.parametrize("damage", ["torn", "no list"])
    @pytest.mark.parametrize("name", ["many", "another"])
    def test_all_but_a_damaged_pack_is_counted_and_compressed(self, packed, damage, name, tmp_path, caplog, capsys):
        first, _, other = packed
        damaged = tmp_path / "logs" / f"{name}.jsonl.xz"
        good = (tmp_path / "logs" / "many.jsonl.xz").read_bytes()
        damaged.write_bytes(good[:-9] if damage == "torn" else lzma.compress(packed[first]))
        elsewhere = [tmp_path / folder / "whole.jsonl" for folder in ("a", "z")]
        for log in elsewhere:
            run(log)
        states = status(tmp_path, logs=True).set_index("log").state
        assert f"{damaged}: is damaged" in caplog.text and set(states) == {"finished"}
        readable = ["whole", "other", "whole"]
        if (name, damage) == ("another", "no list"):  # it holds nothing, and `many` beside it all that it held
            readable[1:1] = ["a rs.1", "b-rs-seed0"]
        assert [*states.index] == readable
        caplog.clear()
        command_line.main(["compress", str(tmp_path)])
        assert f"{damaged}: is damaged" in caplog.text + capsys.readouterr().err
        assert all(forms(log) == ["whole.jsonl.gz"] for log in elsewhere)
        assert damaged.exists() and logfiles.form(other).exists()


def test_a_packs_name_is_no_logs(tmp_path):
    with pytest.raises(UserError, match=r"many\.jsonl\.xz: is a pack; .*many\.jsonl$"):
        logfiles.named(tmp_path / "many.jsonl.xz")
