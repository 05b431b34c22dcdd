"""Whom a model has seen is known without a name being kept."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from wsi_idc.data.seen import patient_digests, seen, seen_by_id, seen_in_parts
from wsi_idc.models.registry import list_models

IDS = st.sets(st.text(min_size=1, max_size=12), max_size=6)


@settings(max_examples=15)
@given(IDS, IDS)
def test_those_who_were_seen_are_found_and_nobody_else(trained_on, measured):
    held = {"patients_seen": patient_digests(trained_on)}
    assert seen_by_id(held, measured) == seen(held, measured) == trained_on & measured


@settings(max_examples=15)
@given(IDS)
def test_digests_tell_neither_ids_nor_their_order(ids):
    digests = patient_digests(ids)
    assert len(digests) == len(ids)
    assert digests == sorted(digests)
    assert all(re.fullmatch("[0-9a-f]{16}", digest) for digest in digests)


def test_digests_stay_what_they_are():
    """Packages hold them: another way to make them would find nobody."""
    assert patient_digests(["8863", "M\u00fcller"]) == ["02d90e1db55f06ec", "2a3715ef356b7f12"]


def test_models_that_ship_name_parts_of_the_official_split():
    packages = {package.name: package for package in list_models()[0]}
    data = packages["idc-context"].training_data
    assert "patients_seen" not in data
    assert seen_in_parts(data, {"8865", "8867", "8864", "x"}) == {"train": ["8865"], "val": ["8867"]}
    assert seen(data, {"8865", "8867", "8864", "x"}) == {"8865", "8867"}
    # Of a package of before nothing is known, which is not that nobody was seen.
    assert seen({"description": "", "patients": 1, "patches": 1}, {"8865"}) is None
