"""An audit of whatever patches lie where, and of whatever bytes: counted as by hand, and never stopped."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from wsi_idc.data.audit import audit_folder
from wsi_idc.data.kaggle import count_neighbours, is_whole_section

from audited import noise, put


def counts(audit):
    return {name: finding.count for name, finding in audit.findings.items() if finding.count}


@settings(max_examples=30)
@given(
    st.dictionaries(
        st.tuples(st.sampled_from("123"), st.integers(0, 4), st.integers(0, 4), st.integers(0, 1)),
        st.integers(0, 5),
        min_size=1,
    )
)
def test_counts_are_those_of_counting_by_hand(tmp_path_factory, patches):
    """Whatever lies where with whichever of six contents."""
    root = tmp_path_factory.mktemp("any")
    for (patient, column, row, label), content in patches.items():
        put(root, patient, column, row, label, noise(content))
    audit = audit_folder(root)
    keys = list(patches)

    def like(key, test):
        return any(k != key and patches[k] == patches[key] and test(k) for k in keys)

    expected = {
        "conflicting_places": sum((p, x, y, 1) in patches for p, x, y, label in keys if label == 0),
        "conflicting_pixels": sum(like(k, lambda o, k=k: o[3] != k[3]) for k in keys),
        "same_pixels_within_patient": sum(like(k, lambda o, k=k: o[0] == k[0]) for k in keys),
        "same_pixels_across_patients": sum(like(k, lambda o, k=k: o[0] != k[0]) for k in keys),
    }
    assert counts(audit) == {name: n for name, n in expected.items() if n}
    assert audit.patches == sum(p.patches for p in audit.per_patient) == len(patches)
    assert audit.idc == sum(p.idc for p in audit.per_patient) == sum(k[3] for k in keys)


@given(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=6))
def test_neighbours_and_whole_sections(rows):
    present = np.array(rows)
    around = np.pad(present, 1).astype(int)
    expected = around[:-2, 1:-1] + around[2:, 1:-1] + around[1:-1, :-2] + around[1:-1, 2:]
    np.testing.assert_array_equal(count_neighbours(present), expected)
    assert is_whole_section(present) == (present.any() and np.median(expected[present]) >= 3)


@settings(max_examples=60)
@given(st.data())
def test_no_damage_to_a_file_stops_the_audit(tmp_path_factory, data):
    root = tmp_path_factory.mktemp("damaged")
    put(root, "7", 0, 0, 0)
    victim = put(root, "7", 1, 0, 0, noise(0, 4, 4))
    content = bytearray(victim.read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[at] = data.draw(st.integers(0, 255))
    victim.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    audit = audit_folder(root)
    assert audit.patches == 2
    assert audit.findings["unreadable"].count in (0, 1)
