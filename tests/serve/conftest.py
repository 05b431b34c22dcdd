import io

import pytest
from PIL import Image
from served import Served

from wsi_idc.demo.painter import paint_section
from wsi_idc.slides.write import write_slide

pytest.importorskip("nicegui")


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A slide that is computed in a moment."""
    section = paint_section(1.6, 1.2, 4.0, seed=2)
    path = tmp_path_factory.mktemp("small") / "small.tif"
    return write_slide(path, section.pixels, section.mpp, downsamples=(1,), compression="deflate")


@pytest.fixture(scope="session")
def picture(small):
    """The pixels of that slide as a PNG."""
    stream = io.BytesIO()
    with Image.open(small) as image:
        image.convert("RGB").save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Served(tmp_path_factory.mktemp("served") / "data", "--max-gb", "0.01", "--max-jobs", "30") as served:
        yield served
