"""`python -m jahslib COMMAND`."""

import errno
import os

import pytest

from jahslib.__main__ import COMMANDS, main


def test_every_command_has_help(capsys):
    assert main(["--help"]) == main([]) == 0
    shown = capsys.readouterr().out
    assert all(shown.count(f"\n  {name} ") == 2 for name in COMMANDS)
    for name in COMMANDS:
        with pytest.raises(SystemExit) as end:
            main([name, "--help"])
        assert end.value.code == 0 and capsys.readouterr().out.startswith("usage: ")


def test_an_unknown_command_is_one_line(capsys):
    assert main(["statistics"]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1 and "'statistics'" in printed.err


def test_a_place_that_cannot_be_written_is_one_line(capsys, tmp_path, monkeypatch):
    def full(argv):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("jahslib.cli.table.main", full)
    assert main(["table"]) == 2
    assert capsys.readouterr().err == "jahslib table: [Errno 28] No space left on device\n"
