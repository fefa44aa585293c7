"""What studies say of their own runs; the claims themselves are tested with each study."""

import json

import pytest

from jahslib.reporting.report import Report
from jahslib.studies import constrained_ea
from jahslib.studies.claims import record_left_out


def left_out(o, study, tmp_path, monkeypatch, *others):
    monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
    record = Report(study.NOTEBOOK, o.profile)
    record_left_out(record, o, study.PROFILES, *others)
    return json.loads(record.save([]).read_text())["records"].get("left_out", {}).get("value")


@pytest.mark.parametrize("profile", ["smoke", "cpu", "paper"])
@pytest.mark.parametrize("study", [constrained_ea])
def test_a_whole_run_leaves_nothing_out(study, profile, tmp_path, monkeypatch):
    o = study.options(profile=profile, device="cpu", seeds=(5,))
    assert left_out(o, study, tmp_path, monkeypatch) is None
