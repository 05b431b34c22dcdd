"""What is sent becomes a slide, or is refused in words; nothing lands outside the folder of its job."""

import io
import stat
import struct
import time
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from wsi_idc.errors import DataError, WsiIdcError
from wsi_idc.serve.intake import take_in, unpack
from wsi_idc.serve.place import Place, label
from wsi_idc.slides.slide import Slide

MOST = 10**9


@pytest.fixture
def place(tmp_path):
    (tmp_path / "job").mkdir()
    return Place(tmp_path / "job")


def zip_of(*files, method=zipfile.ZIP_DEFLATED):
    """A zip of names, or entries, and what is in them; the same at any time, since it becomes part of a test's name."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files:
            entry = name if isinstance(name, zipfile.ZipInfo) else zipfile.ZipInfo(name)
            archive.writestr(entry, content, method)
    return stream.getvalue()


def taken(place, name, content, mpp=None, most=MOST):
    place.upload.write_bytes(content)
    return take_in(place, name, mpp, most)


def test_a_slide_a_picture_and_a_zip_become_slides(place, painted, section, tmp_path):
    assert taken(place, "a b.svs", painted.read_bytes()).name == "a-b.svs"
    assert not place.upload.exists() and place.slide().read_bytes() == painted.read_bytes()
    # Taken in before, it is not looked at again.
    assert take_in(place, "a b.svs", None, MOST) == place.slide()
    for number, (form, name) in enumerate((("PNG", "x.png"), ("JPEG", "x.tiff"))):
        other = Place(tmp_path / f"job{number}")
        other.folder.mkdir()
        stream = io.BytesIO()
        Image.fromarray(section.pixels).save(stream, form)
        # The scale that was said is not in it: it may be said anew, and the slide is the same then.
        with Slide(taken(other, name, stream.getvalue(), 4.0), 2.0) as slide:
            assert slide.warnings == () and slide.size == section.pixels.shape[1::-1]
    other = Place(tmp_path / "zipped")
    other.folder.mkdir()
    content = zip_of(("case/", b""), ("case/Slide 1.tif", painted.read_bytes()), ("case/notes.txt", b"."))
    assert taken(other, "case.zip", content).relative_to(other.folder).as_posix() == "slide/case/case/Slide 1.tif"


def test_a_picture_is_of_colours_and_white_where_transparent(place):
    clear = io.BytesIO()
    Image.new("RGBA", (60, 60), (10, 20, 30, 0)).save(clear, "PNG")
    with Slide(taken(place, "clear.png", clear.getvalue(), 4.0), 4.0) as slide:
        assert (slide.read(0, 0, 60, 60, 4.0) == 255).all()


def test_a_picture_of_16_bits_is_refused(place):
    deep = io.BytesIO()
    Image.fromarray(np.full((60, 60), 60_000, np.uint16)).save(deep, "PNG")
    with pytest.raises(DataError, match="not 8-bit colour"):
        taken(place, "deep.png", deep.getvalue(), 4.0)


def _link():
    entry = zipfile.ZipInfo("link.tif")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"no slide" * 100, "no slide that can be read"),
        (b"II*\0" + b"\xff" * 500, "no slide that can be read"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "picture that cannot be read"),
        (zip_of(("../out.tif", b"x")), "leads out"),
        (zip_of(("/etc/out.tif", b"x")), "leads out"),
        (zip_of(("a/../../out.tif", b"x")), "leads out"),
        (zip_of(("a\\..\\out.tif", b"x")).replace(b"a/..", b"a\\.."), "leads out"),
        (zip_of(("C:out.tif", b"x")), "leads out"),
        (zip_of(("a\x1b[31m.tif", b"x")), "leads out"),
        (zip_of(("/".join("a" * 20), b"x")), "leads out"),
        (zip_of((_link(), b"/etc/passwd")), "a link"),
        (zip_of(("big.tif", b"\0" * 150_000_000)), "which no slide does"),
        (zip_of(*((f"{n}.txt", b"") for n in range(10_001))), "10,001 files"),
        (zip_of(("notes.txt", b"x")), "no slide"),
        (zip_of(), "no slide"),
        (zip_of(("a.tif", b"II*\0x"), ("b.tif", b"II*\0y")), "2 slides"),
        (zip_of(("a.tif", b"x" * 99))[:-40], "damaged zip"),
        (zip_of(("a.zip", zip_of(("a.tif", b"x")))), "no slide"),
    ],
)
def test_what_is_no_slide_is_refused_in_words_and_leaves_nothing_outside(place, content, why):
    begun = time.monotonic()
    with pytest.raises(WsiIdcError, match=why) as refused:
        taken(place, "x.zip", content, 1.0)
    assert str(place.folder) not in str(refused.value) and "\x1b" not in str(refused.value)
    assert time.monotonic() - begun < 5
    assert [p.name for p in place.folder.parent.iterdir()] == ["job"]
    assert {p.name for p in place.folder.iterdir()} <= {"upload", "slide"}


def test_a_zip_that_lies_about_its_sizes_is_refused(place):
    """The directory says a byte, the file in it has a million."""
    content = bytearray(zip_of(("a.tif", b"\0" * 1_000_000)))
    at = content.rindex(b"PK\x01\x02")
    content[at + 24 : at + 28] = struct.pack("<I", 1)
    place.upload.write_bytes(bytes(content))
    with pytest.raises(DataError):
        unpack(place.upload, place.folder / "slide", MOST)
    assert sum(p.stat().st_size for p in (place.folder / "slide").rglob("*")) <= 1


def test_a_picture_without_a_scale_says_what_to_do(place, section):
    stream = io.BytesIO()
    Image.fromarray(section.pixels[:100, :100]).save(stream, "PNG")
    with pytest.raises(DataError, match=r"states no scale.*µm"):
        taken(place, "x.png", stream.getvalue())
    # What was sent is still there.
    assert take_in(place, "x.png", 4.0, MOST).is_file()


def test_a_picture_of_too_many_pixels_is_not_decoded(place):
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header + b"\0" * 100
    with pytest.raises(DataError, match="picture that cannot be read"):
        taken(place, "x.png", content, 0.25)


@given(name=st.text(max_size=300))
def test_a_label_is_one_plain_name(name):
    made = label(name)
    assert 0 < len(made) <= 60 and all(c.isalnum() or c in "-_" for c in made)


def test_labels_say_which_slide_it_is():
    assert label("Case 7, block B.svs") == "Case-7-block-B"
    assert label("../../etc/passwd") == "passwd" and label("C:\\x\\Müller.ndpi") == "Müller"
    assert label("....") == label("") == "slide"
