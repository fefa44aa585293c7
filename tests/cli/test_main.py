"""`python -m jahslib COMMAND`."""

from importlib import import_module

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


def test_what_follows_the_command_is_its_own(capsys, tmp_path):
    wrong = str(tmp_path / "none")
    assert main(["status", wrong]) == import_module("jahslib.cli.status").main([wrong]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == second
