"""The queue's states: only what may come next does, whoever asks, and it is there when the table is opened again."""

import threading
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_idc.errors import DataError, OutputError
from wsi_idc.serve.queue import NEXT, Queue

STATES = list(NEXT)


@pytest.fixture
def queue(tmp_path):
    found = Queue(tmp_path / "queue.sqlite")
    yield found
    found.close()


@given(asked=st.lists(st.sampled_from(STATES), max_size=12))
def test_a_job_is_in_the_state_that_the_moves_allowed(tmp_path_factory, asked):
    queue = Queue(tmp_path_factory.mktemp("queue") / "queue.sqlite")
    key, state = queue.add("slide.svs", 10).id, "uploading"
    for wanted in asked:
        if wanted in NEXT[state]:
            assert queue.move(key, wanted, "why").state == wanted
            state = wanted
        else:
            with pytest.raises(DataError, match=f"what is {state} cannot become {wanted}"):
                queue.move(key, wanted)
        assert queue.get(key).state == state
    queue.close()
    again = Queue(queue.file)
    assert again.get(key).state == state
    again.close()


def test_of_many_who_begin_a_job_at_once_one_does(queue):
    key = queue.add("slide.svs", 10).id
    queue.move(key, "queued")
    won = []

    def take():
        with suppress(DataError):
            won.append(queue.move(key, "running"))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1


def test_a_job_that_takes_its_server_down_each_time_is_given_up(queue):
    key = queue.add("slide.svs", 10).id
    queue.move(key, "queued")
    assert [queue.begin(key).state for _ in range(6)] == ["running"] * 5 + ["failed"]
    assert "5 times" in queue.get(key).reason
    # By hand it is begun anew.
    queue.move(key, "queued")
    assert queue.begin(key).tries == 1


def test_what_expired_is_forgotten_and_what_is_not_there_is_said(queue):
    key = queue.add("slide.svs", 10, 0.25).id
    assert queue.get(key).mpp == 0.25 and len(key) == 32
    queue.move(key, "expired")
    queue.forget(before=2e12)
    with pytest.raises(DataError, match="no such upload"):
        queue.get(key)
    assert queue.all() == []


def test_a_table_that_is_none_is_refused_in_a_line(tmp_path):
    (tmp_path / "queue.sqlite").write_bytes(b"no table" * 1000)
    with pytest.raises(OutputError, match=r"queue\.sqlite: the queue cannot be opened"):
        Queue(tmp_path / "queue.sqlite")
