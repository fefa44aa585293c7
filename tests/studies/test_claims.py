"""What studies say of their own runs; the claims themselves are tested with each study."""

import json

import pytest

from jahslib.analysis.claims import check_searches
from jahslib.reporting.report import Report
from jahslib.studies import head_to_head
from jahslib.studies.claims import record_left_out
from tests.analysis.conftest import search


def left_out(o, study, tmp_path, monkeypatch, *others):
    monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path))
    record = Report(study.NOTEBOOK, o.profile)
    record_left_out(record, o, study.PROFILES, *others)
    return json.loads(record.save([]).read_text())["records"].get("left_out", {}).get("value")


def test_a_claim_that_does_not_hold_stops_the_notebook():
    check_searches([search([(3, 0.5, 10)] * 3)], 9)
    with pytest.raises(AssertionError, match="overspent: 9"):
        check_searches([search([(3, 0.5, 10)] * 3)], 8)


@pytest.mark.parametrize("profile", ["smoke", "cpu", "paper"])
@pytest.mark.parametrize("study", [head_to_head])
def test_a_whole_run_leaves_nothing_out(study, profile, tmp_path, monkeypatch):
    o = study.options(profile=profile, device="cpu", seeds=(5,))
    assert left_out(o, study, tmp_path, monkeypatch) is None
