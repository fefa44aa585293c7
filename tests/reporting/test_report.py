import json

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from jahslib.analysis.trainings import networks_table
from jahslib.errors import UserError
from jahslib.reporting.report import Report
from tests.conftest import Toy
from tests.search.test_search import run


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
    path = tmp_path / "results/smoke/00_test/logs/a.jsonl"
    run(Toy(), path, profile="smoke", method="rs")
    return path


def write(log):
    report = Report("00_test", "smoke")
    report.value("answer", 0.123456, "An answer")
    report.table("numbers", pd.DataFrame({"x": [1, 2], "y": [0.1, 1 / 3]}), "Numbers")
    figure, axis = plt.subplots()
    axis.plot([1, 2], [3, 4], label="line")
    axis.legend()
    report.figure("line", figure, "A line")
    plt.close(figure)
    return report.save([log])


def test_records_carry_their_provenance(log):
    index = json.loads(write(log).read_text())
    assert index["records"]["answer"] == {"kind": "value", "value": 0.123456, "text": "0.1235", "about": "An answer"}
    assert index["profile"] == "smoke" and index["seeds"] == [0] and index["versions"]["torch"]
    assert len(index["logs"]["a.jsonl"]) == 32
    assert (log.parent.parent / "numbers.csv").read_text() == "x,y\n1,0.1\n2,0.333333\n"


def test_sizes_keep_all_their_digits(log):
    report = Report("00_test", "smoke")
    report.table("sizes", pd.DataFrame({"params_mean": [1012899.0, 29864.25]}), "Sizes")
    report.save([log])
    assert (log.parent.parent / "sizes.csv").read_text() == "params_mean\n1012899\n29864.2\n"


def test_the_same_data_gives_the_same_bytes(log, tmp_path):
    files = [f for f in tmp_path.rglob("*") if f.is_file()]
    write(log)
    written = {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file() and f not in files}
    assert {f.suffix for f in written} == {".json", ".csv", ".svg", ".png"}
    write(log)
    assert {f: f.read_bytes() for f in written} == written


def test_a_notebook_that_fails_half_way_leaves_the_files_of_the_last_whole_run(log, tmp_path):
    write(log)
    written = {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}
    report = Report("00_test", "smoke")
    report.table("numbers", pd.DataFrame({"x": [3]}), "Numbers")
    report.configuration("best", {"lr": 0.1}, "Another file")
    figure = plt.figure()
    report.figure("line", figure, "A line")
    plt.close(figure)
    assert {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()} == written
    report.save([log])
    assert (log.parent.parent / "numbers.csv").read_text() == "x\n3\n"


@pytest.mark.parametrize(
    ("table", "header"),
    [
        (pd.DataFrame(columns=["x", "y"]), ["x", "y"]),
        (pd.DataFrame(), ["nothing"]),
        (networks_table({}, {}).iloc[:, :3], ["type", "n", "channels"]),
    ],
)
def test_a_table_without_rows_is_one_that_pandas_reads(log, table, header):
    report = Report("00_test", "smoke")
    assert report.table("empty", table, "Nothing was trained") is table
    report.save([log])
    read = pd.read_csv(log.parent.parent / "empty.csv")
    assert list(read.columns) == header and read.empty


def test_a_name_is_written_once(log):
    report = Report("00_test", "smoke")
    report.value("x", 1, "one")
    with pytest.raises(UserError, match="'x' is written twice"):
        report.value("x", 2, "two")


def test_a_course_is_written_where_it_changes_and_handed_back_whole(log):
    report = Report("00_test", "smoke")
    course = pd.DataFrame({"method": "rs", "seed": 0, "share": [0.1, 0.2, 0.3, 0.4], "score": [0.5, 0.5, 0.4, 0.4]})
    assert report.course("curves", course, "Course", spent=["share"]) is course
    report.save([log])
    assert pd.read_csv(log.parent.parent / "curves.csv").share.tolist() == [0.1, 0.3, 0.4]
