import wsi_idc
from wsi_idc.runs.overwriting import Overwriting


def overwriting(folder, **settings):
    return Overwriting(folder, wsi_idc.find_model("idc-patch"), wsi_idc.Settings(overwrite=True, **settings))


def test_what_was_begun_is_known_until_it_ends(tmp_path):
    overwriting(tmp_path).begin(["a", "b"])
    overwriting(tmp_path).begin(["c"])
    assert overwriting(tmp_path).begun() == {"a", "b", "c"}
    overwriting(tmp_path).end(["a"])
    assert overwriting(tmp_path).begun() == {"b", "c"}
    overwriting(tmp_path).end(["b", "c", "d"])
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_other_settings_has_its_own(tmp_path):
    overwriting(tmp_path).begin(["a"])
    other = overwriting(tmp_path, threshold=0.3)
    assert other.begun() == set()
    other.end(["a"])
    assert overwriting(tmp_path).begun() == {"a"}
    other.begin(["b"])
    assert overwriting(tmp_path).begun() == set()


def test_damaged_it_says_nothing(tmp_path):
    for text in ("", "[]", '{"key": 1}', "\0"):
        (tmp_path / ".overwriting").write_text(text)
        assert overwriting(tmp_path).begun() == set()
