"""Widgets are for persons alone."""

from types import SimpleNamespace

import pytest

from jahslib.figures import widgets


@pytest.mark.parametrize("started_by", [["python", "-m", "papermill"], ["jupyter-nbconvert"], ["jupyter-lab"]])
def test_papermill_and_nbconvert_are_no_persons(started_by, monkeypatch):
    import IPython
    import psutil

    for name in ("JAHSLIB_RUN", "PYTEST_VERSION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setattr(psutil, "Process", lambda pid: SimpleNamespace(cmdline=lambda: started_by))
    assert widgets.interactive() == (started_by == ["jupyter-lab"])
    for name in ("JAHSLIB_RUN", "PYTEST_VERSION"):
        monkeypatch.setenv(name, "1")
        assert not widgets.interactive()
        monkeypatch.delenv(name)
