import time

import pytest

from wsi_idc.base.threads import in_parallel


def test_after_an_error_nothing_more_is_begun():
    begun = []

    def work(item):
        begun.append(item)
        if item == 1:
            raise ValueError("stop")
        time.sleep(0.002)

    with pytest.raises(ValueError, match="stop"):
        in_parallel(work, range(1000), 1)
    assert len(begun) < 1000
