import io
import json

import numpy as np
import pytest
from PIL import Image

import wsi_idc
from wsi_idc.errors import DataError
from wsi_idc.runs.executors.executor import Listener
from wsi_idc.runs.run import Runner
from wsi_idc.runs.settings import Settings
from wsi_idc.viewer.live import LiveRun, is_live
from wsi_idc.viewer.opened import OpenedRun
from wsi_idc.viewer.shelf import ALONE, Shelf


class Looking(Listener):
    """Looks at a run whenever a chunk is done; interrupts it after so many looks."""

    def __init__(self, folder, until=None):
        self.folder, self.until, self.seen, self.veiled = folder, until, [], []

    def advanced(self, number, patches):
        with LiveRun(self.folder) as live:
            self.seen.append(live.progress())
            pixels = np.asarray(Image.open(io.BytesIO(live.heat())))
            self.veiled.append(int((pixels[..., 3] > 0).sum()))
        if len(self.seen) == self.until:
            raise KeyboardInterrupt


@pytest.mark.parametrize("model", ["idc-patch", "idc-context"])
def test_chunks_are_seen_as_they_finish(painted, tmp_path, model):
    runner = Runner(wsi_idc.find_model(model), Settings(chunk=4, threads=1))
    looking = Looking(tmp_path / "run")
    result = runner.run(painted, tmp_path / "run", looking)
    chunks = [p.chunks for p in looking.seen]
    assert chunks == sorted(chunks) and chunks[-1] > chunks[0] > 0
    assert looking.veiled[0] > 0 and {p.state for p in looking.seen} == {"running"}
    assert {p.patches for p in looking.seen} == {result.summary["patches"]}
    assert not is_live(tmp_path / "run")
    with pytest.raises(DataError, match="nothing is being computed there"):
        LiveRun(tmp_path / "run")


@pytest.mark.parametrize(
    "damage",
    [
        {"mpp": [4.0]},
        {"mpp": 0},
        {"threshold": 10**400},
        {"patches": "9"},
        {"grid": {"slide_size": [300], "slide_mpp": [4.0, 4.0], "patch_size": 50, "mpp": 4.0}},
        {"grid": {"slide_size": [300, 250], "slide_mpp": [4.0, 4.0], "patch_size": 10**400, "mpp": 4.0}},
        {"grid": {"slide_size": [10**6, 10**6], "slide_mpp": [4.0, 4.0], "patch_size": 1, "mpp": 4.0}},
    ],
)
def test_a_plan_that_is_damaged_is_none(painted, tmp_path, damage):
    grid = {"slide_size": [300, 250], "slide_mpp": [4.0, 4.0], "patch_size": 50, "mpp": 4.0}
    plan = {"slide": str(painted), "mpp": None, "grid": grid, "patches": 9, "threshold": 0.5}
    file = tmp_path / ".unfinished" / "plan.json"
    file.parent.mkdir()
    file.write_text(json.dumps(plan))
    with LiveRun(tmp_path) as live:
        assert live.progress().patches == 9
    for text in (json.dumps(plan | damage), "[" * 5000):
        file.write_text(text)
        with pytest.raises(DataError, match="nothing is being computed there"):
            LiveRun(tmp_path)


def test_one_that_was_left_says_so_and_its_results_take_its_place(painted, tmp_path):
    folder = tmp_path / "run"
    runner = Runner(wsi_idc.find_model("idc-patch"), Settings(chunk=4, threads=1))
    with pytest.raises(KeyboardInterrupt):
        runner.run(painted, folder, Looking(folder, until=2))
    shelf = Shelf(folder, painted)
    with shelf.using(ALONE) as found:
        assert isinstance(found, LiveRun) and found.progress().state == "left"
        assert found.tile(0, 0, 0) and found.facts()["heat"] and found.probability(-1, 0) is None
    runner.run(painted, folder)
    with shelf.using(ALONE) as found:
        assert isinstance(found, OpenedRun)
    shelf.close()
