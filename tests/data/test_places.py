"""Places of data files: which come first, and what is said when none has one."""

import pytest

from jahslib.data import places
from jahslib.errors import UserError


def test_a_folder_given_as_an_option_is_searched_before_all_others(offline, tmp_path, monkeypatch):
    monkeypatch.setenv("JAHSLIB_DATA", str(tmp_path / "before"))  # put back after the test
    given = tmp_path / "given"
    for folder in (given, offline / "data"):
        folder.mkdir(exist_ok=True)
        (folder / "table.csv").write_text("a")
    places.look_in(str(given), "dataset_dir")
    assert places.find(["other.csv", "table.csv"]) == ("JAHSLIB_DATA", given / "table.csv")
    (given / "table.csv").unlink()
    assert places.obtain("table", ["table.csv"]) == ("data/", offline / "data" / "table.csv")
    (offline / "data" / "table.csv").unlink()
    assert not places.at_hand("table.csv")
    with pytest.raises(UserError, match=r"^table: found no table.csv in \$JAHSLIB_DATA \(searched\), .* write it$"):
        places.obtain("table", ["table.csv"], "write it")


def test_a_folder_that_is_not_there_is_refused_by_its_option(offline, monkeypatch):
    with pytest.raises(UserError, match=r"^dataset_dir: no folder nowhere; give"):
        places.look_in("nowhere", "dataset_dir")
