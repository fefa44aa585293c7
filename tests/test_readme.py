"""The README's examples do what it says, and its links lead somewhere."""

import re

import pytest

from jahslib.paths import ROOT

README = (ROOT / "README.md").read_text()


EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize(("example", "log"), list(zip(EXAMPLES, ["quadratic", "mine"], strict=True)))
def test_an_example_runs_and_its_second_run_reads_the_log(example, log, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    namespace: dict = {}
    exec(example, namespace)
    first = capsys.readouterr().out
    assert "best feasible is trial" in first and namespace["history"].trials[-1].epochs > 0
    before = (tmp_path / f"{log}.jsonl").read_bytes()
    exec(example, {})
    assert capsys.readouterr().out == first
    assert (tmp_path / f"{log}.jsonl").read_bytes() == before


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_links_lead_somewhere(target):
    assert (ROOT / target).exists()
