import json

import pytest

import wsi_idc
from wsi_idc.errors import OutputError
from wsi_idc.runs.results import identity
from wsi_idc.runs.results.identity import differences

HELD = {
    "slide_fingerprint": "a",
    "model_sha256": "b",
    "parameters": {"threshold": 0.5, "low": None, "bands": [], "stride": 50},
    "result_format": 4,
}


def asked(**changes):
    return HELD | {"parameters": HELD["parameters"] | changes}


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (HELD, []),
        (HELD | {"slide_fingerprint": "c"}, ["another slide, or one whose file was changed"]),
        (HELD | {"model_sha256": "c"}, ["another model"]),
        (HELD | {"result_format": 5}, ["result format 4, now 5"]),
        (asked(threshold=0.9, low=0.3), ["threshold 0.5, now 0.9", "low not given, now 0.3"]),
        (asked(bands=[0.3]), ["bands [], now [0.3]"]),
    ],
)
def test_what_differs_is_named(wanted, said):
    assert differences(HELD, wanted) == said


def test_a_setting_that_a_run_does_not_know_is_at_its_default():
    assert differences(HELD, asked(tta=False, min_tissue=0.1)) == []
    assert differences(HELD, asked(tta=True)) == ["tta False, now True"]
    assert differences(asked(gone=3), HELD) == ["gone 3, now not given"]


def test_a_run_that_states_no_format_is_another_one():
    older = {name: value for name, value in HELD.items() if name != "result_format"}
    assert differences(older, HELD) == ["no result format stated, now 4"]


def test_after_an_upgrade_what_was_done_is_reused_until_the_results_change(painted, tmp_path, monkeypatch):
    first = wsi_idc.segment(painted, tmp_path)
    assert first.summary["result_format"] == first.summary["identity"]["result_format"] == identity.RESULT_FORMAT
    file = first.folder / "summary.json"
    older = json.loads(
        file.read_text().replace(f'"wsi-idc": "{first.summary["versions"]["wsi-idc"]}"', '"wsi-idc": "0"')
    )
    assert older["versions"]["wsi-idc"] == "0"
    file.write_text(json.dumps(older))
    with monkeypatch.context() as patched:
        patched.setattr("wsi_idc.runs.run.version", lambda _: "99.0")
        assert wsi_idc.segment(painted, tmp_path).reused
    monkeypatch.setattr(identity, "RESULT_FORMAT", identity.RESULT_FORMAT + 1)
    with pytest.raises(OutputError, match=r"holds another run \(result format \d+, now \d+\); choose another -o"):
        wsi_idc.segment(painted, tmp_path)
    with pytest.raises(OutputError, match=r"result format \d+, now \d+; threshold 0\.\d+, now 0\.9\)"):
        wsi_idc.segment(painted, tmp_path, threshold=0.9)
    assert not wsi_idc.segment(painted, tmp_path, overwrite=True).reused
