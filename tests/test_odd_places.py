"""Files at odd places and of odd contents: one line that names them, and what can be used is used."""

import codecs
import json
import os

import pytest

from jahslib.errors import UserError
from jahslib.optimizers.random_search import RandomSearch
from jahslib.search import Budget, search, triallog
from jahslib.spaces import configurations as spaces
from tests.conftest import Toy


def run(path, problem=None, trials=2):
    problem = problem or Toy()
    return search(problem, RandomSearch(problem, 0), Budget(trials=trials), path, seed=0)


def refused(path):
    with pytest.raises(UserError) as error:
        run(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400 + len(os.fspath(path))
    return str(error.value)


def test_a_log_that_is_a_device_a_pipe_or_a_folder(tmp_path):
    assert "/dev/null: is a device or a pipe; give the name of an ordinary file" in refused("/dev/null")
    os.mkfifo(tmp_path / "pipe")
    assert "is a device or a pipe" in refused(tmp_path / "pipe")
    with pytest.raises(UserError, match="is a device or a pipe"):
        triallog.read(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    assert "cannot be opened (Is a directory); give another place" in refused(tmp_path / "folder")
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)"):
        triallog.read(tmp_path / "folder")
    (tmp_path / "file").write_text("mine")
    assert "cannot be opened" in refused(tmp_path / "file" / "a.jsonl")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder", "pipe"]


@pytest.mark.parametrize("length", [250, 300, 5000])
def test_a_log_of_an_over_long_name_is_refused_before_any_trial(length, tmp_path):
    assert "name is too long" in refused(tmp_path / ("a" * length)) and not list(tmp_path.iterdir())


def test_a_log_below_an_over_long_folder_or_with_a_zero_byte(tmp_path):
    assert "cannot be opened (File name too long)" in refused(tmp_path / ("a" * 300) / "a.jsonl")
    assert "cannot be opened (embedded null byte)" in refused(tmp_path / "a\0b")


@pytest.mark.parametrize(
    "line", [b"null", b"true", b"[]", b"1.5", b'"text"', b'{"kind": null}', b"\xff", b"\xef\xbb\xbf"]
)
def test_a_line_of_something_else(line, tmp_path):
    run(tmp_path / "a.jsonl")
    content = (tmp_path / "a.jsonl").read_bytes()
    (tmp_path / "a.jsonl").write_bytes(content + line + b"\n" + content.splitlines(True)[1])
    assert "a.jsonl: line 5 is" in refused(tmp_path / "a.jsonl")


def test_a_log_that_an_editor_gave_a_byte_order_mark_is_read(tmp_path):
    history = run(tmp_path / "a.jsonl")
    content = (tmp_path / "a.jsonl").read_bytes()
    (tmp_path / "a.jsonl").write_bytes(codecs.BOM_UTF8 + content)
    assert len(triallog.read(tmp_path / "a.jsonl").trials) == len(run(tmp_path / "a.jsonl")) == len(history)
    assert len(run(tmp_path / "a.jsonl", trials=3)) == 3


def test_a_lone_surrogate_in_a_reason_is_logged_as_text(tmp_path):
    class Broken(Toy):
        def evaluate(self, job):
            raise ValueError("no file gr\udcfc\udce9n")

    problem = Broken()
    problem.__class__.__name__ = "Toy"
    trial, *_ = run(tmp_path / "a.jsonl", problem)
    assert (
        trial.reason == r"ValueError: no file gr\udcfc\udce9n" == triallog.read(tmp_path / "a.jsonl").trials[0].reason
    )
    trial.reason.encode()


@pytest.mark.parametrize("value", [True, None, [0.1], {"x": 1}, "0.1"])
def test_a_configuration_with_another_kind_of_value(value, tmp_path):
    (tmp_path / "c.json").write_text(json.dumps({"rate": value}))
    with pytest.raises(UserError, match="rate"):
        spaces.read(Toy().space, tmp_path / "c.json")


@pytest.mark.parametrize("content", ["null", "[]", "1", "true", '"x"', "", "{"])
def test_a_configuration_that_is_none(content, tmp_path):
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(UserError, match="configuration"):
        spaces.read(Toy().space, tmp_path / "c.json")


def test_a_configuration_with_a_byte_order_mark_and_a_folder_in_its_place(tmp_path):
    (tmp_path / "c.json").write_bytes(codecs.BOM_UTF8 + b'{"width": 64}')
    assert spaces.read(Toy().space, tmp_path / "c.json")["width"] == 64
    with pytest.raises(UserError, match="configuration"):
        spaces.read(Toy().space, tmp_path)
