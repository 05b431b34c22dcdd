import io
import os
import struct

import numpy as np
import pytest
from PIL import Image

from wsi_idc.base.inputs.picture import picture_facts, read_picture, read_rgb


def test_pictures_are_read(tmp_path):
    Image.new("RGB", (5, 4), "red").save(tmp_path / "a.png", dpi=(254, 254))
    image = read_picture(tmp_path / "a.png", 20, ("RGB",))
    assert (image.size, image.getpixel((0, 0))) == ((5, 4), (255, 0, 0))
    assert round(picture_facts(tmp_path / "a.png")["dpi"][0]) == 254


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_a_picture_is_turned_as_it_is_to_be_shown(tmp_path, suffix):
    image = Image.new("RGB", (48, 32), "white")
    image.paste("red", (0, 0, 16, 16))
    facts = Image.Exif()
    facts[274] = 6
    image.save(tmp_path / f"a{suffix}", exif=facts)
    turned = read_rgb(tmp_path / f"a{suffix}", 10_000)
    assert turned.shape == (48, 32, 3) and turned[4, 28, 1] < 60 and turned[4, 4, 1] > 200


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_what_is_transparent_is_white(tmp_path, mode):
    clear = Image.new("RGBA", (2, 1), (200, 0, 0, 255))
    clear.putpixel((1, 0), (10, 20, 30, 0))
    clear.convert(mode).save(tmp_path / "a.png")
    assert read_rgb(tmp_path / "a.png", 2).tolist() == [[[200, 0, 0], [255, 255, 255]]]


@pytest.mark.parametrize("pixels", [np.full((5, 4), 9, np.uint8), np.full((5, 4), 60_000, np.uint16)])
def test_what_has_no_colours_is_refused(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="not 8-bit colour"):
        read_rgb(tmp_path / "a.png", 20)


def test_what_is_refused(tmp_path):
    Image.new("L", (5, 4)).save(tmp_path / "grey.png")
    stream = io.BytesIO()
    Image.new("RGB", (64, 64)).save(stream, "JPEG")
    lies = bytearray(stream.getvalue())
    at = lies.find(b"\xff\xc0")
    lies[at + 5 : at + 9] = struct.pack(">HH", 65000, 65000)
    (tmp_path / "lies.jpg").write_bytes(lies)
    # Pillow starts Ghostscript for it.
    Image.new("RGB", (5, 4)).save(tmp_path / "a.eps")
    (tmp_path / "cut.png").write_bytes((tmp_path / "grey.png").read_bytes()[:40])
    for name, most, reason in (
        ("grey.png", 100, "pixels are L"),
        ("grey.png", 19, "too large"),
        ("lies.jpg", 1 << 24, "too large|not an image"),
        ("a.eps", 100, "not an image"),
        ("cut.png", 100, "not an image"),
    ):
        with pytest.raises(ValueError, match=reason):
            read_picture(tmp_path / name, most, ("RGB",))
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(OSError, match="pipe"):
        read_picture(tmp_path / "pipe.png", 100)
