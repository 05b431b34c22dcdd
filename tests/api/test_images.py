"""Images for `predict` say at which scale they are, or that they are slides."""

import pytest
import tifffile
from PIL import Image

from wsi_idc.api.images import image_patch, predict_images, stated_mpp
from wsi_idc.base.raster import average
from wsi_idc.errors import DataError
from wsi_idc.models.registry import find_model
from wsi_idc.slides.write import write_slide


@pytest.fixture
def fine(section):
    """Pixels of 1 um, of 200 um a side: what a patch of the model shows."""
    return section.pixels[200:250, 300:350].repeat(4, 0).repeat(4, 1)


def write_png(path, pixels, mpp):
    Image.fromarray(pixels).save(path, dpi=(25400 / mpp, 25400 / mpp))
    return path


def write_tiff(path, pixels, mpp):
    tifffile.imwrite(path, pixels, photometric="rgb", metadata=None, resolution=(1e4 / mpp,) * 2, resolutionunit=3)
    return path


def write_described(path, pixels, mpp):
    tifffile.imwrite(path, pixels, photometric="rgb", metadata=None, description=f"|MPP = {mpp}")
    return path


@pytest.mark.parametrize("write", [write_png, write_tiff, write_described])
def test_an_image_is_brought_to_the_scale_of_the_model(tmp_path, section, fine, write):
    suffix = "png" if write is write_png else "tif"
    scaled = write(tmp_path / f"fine.{suffix}", fine, 1.0)
    assert stated_mpp(scaled) == pytest.approx(1, rel=1e-3)
    plain = tmp_path / "plain.png"
    Image.fromarray(section.pixels[200:250, 300:350]).save(plain)
    rows, errors = predict_images([scaled, plain], find_model("idc-patch"))
    assert errors == []
    assert rows[0]["patches"] == rows[1]["patches"] == 1
    assert rows[0]["probability"] == pytest.approx(rows[1]["probability"], abs=1e-5)
    assert (rows[0]["mpp"], rows[1]["mpp"]) == (pytest.approx(1, rel=1e-3), None)


def test_a_scale_that_is_no_multiple_is_averaged_by_area(tmp_path, section):
    pixels = section.pixels[100:300, 100:300]
    there = write_png(tmp_path / "x.png", pixels, 2.5)
    same = tmp_path / "same.png"
    Image.fromarray(average(pixels, (0.0, 0.0), (1.6, 1.6), (125, 125), (255, 255, 255))).save(same)
    rows, _ = predict_images([there, same], find_model("idc-patch"))
    assert rows[0]["patches"] == rows[1]["patches"] == 8
    assert rows[0]["probability"] == pytest.approx(rows[1]["probability"], abs=1e-3)


def test_patches_have_the_scale_that_their_folder_states(tmp_path, fine):
    """They were taken to be at the scale of the model; `evaluate` refused them."""
    patch = tmp_path / "7" / "1" / "7_idx5_x1_y1_class1.png"
    patch.parent.mkdir(parents=True)
    Image.fromarray(fine).save(patch)
    assert stated_mpp(patch) is None
    (tmp_path / "patches.json").write_text('{"mpp": 1.0}')
    rows, _ = predict_images([patch, write_png(tmp_path / "same.png", fine, 1.0)], find_model("idc-patch"))
    assert rows[0]["mpp"] == 1 and rows[0]["probability"] == pytest.approx(rows[1]["probability"], abs=1e-6)
    Image.fromarray(fine[:50, :50]).save(patch)
    rows, (error,) = predict_images([patch], find_model("idc-patch"))
    assert not rows and "is 12 x 12 pixels at the 4 um" in str(error) and "less than half a patch" in str(error)


def test_an_image_of_less_than_half_a_patch_is_refused(tmp_path, section):
    """It was filled up with white, and that was judged."""
    for name, width in (("half", 25), ("less", 24)):
        Image.fromarray(section.pixels[200:250, 300 : 300 + width]).save(tmp_path / f"{name}.png")
    rows, (error,) = predict_images([tmp_path / "half.png", tmp_path / "less.png"], find_model("idc-patch"))
    assert [row["image"] for row in rows] == [str(tmp_path / "half.png")]
    assert "less.png: is 24 x 50 pixels" in str(error)
    with pytest.raises(DataError, match="less than half a patch"):
        image_patch(tmp_path / "less.png", find_model("idc-patch"), "")


def test_the_scale_of_a_screen_is_none(tmp_path, fine):
    for dpi in (72, 96, 300):
        Image.fromarray(fine).save(tmp_path / "x.png", dpi=(dpi, dpi))
        assert stated_mpp(tmp_path / "x.png") is None


def test_slides_are_for_segment(tmp_path, section, fine):
    pyramid = write_slide(tmp_path / "pyramid.tif", section.pixels, 1.0)
    aperio = tmp_path / "aperio.svs"
    tifffile.imwrite(
        aperio, fine, photometric="rgb", metadata=None, tile=(128, 128), description="Aperio Image|MPP = 1"
    )
    (tmp_path / "folder").mkdir()
    _, errors = predict_images([pyramid, aperio, tmp_path / "folder"], find_model("idc-patch"))
    assert [str(e).split(": ", 1)[1] for e in errors] == [
        "is a slide of 3 levels; wsi-idc segment reads it at the scale of the model",
        "is a slide; wsi-idc segment reads it at the scale of the model",
        "is a folder; give images, or use wsi-idc segment for the slides in it",
    ]
    with tifffile.TiffWriter(tmp_path / "two.tif") as two:
        two.write(fine[:100], photometric="rgb", metadata=None, description="macro", subfiletype=1)
        two.write(fine, photometric="rgb", metadata=None)
    with pytest.raises(DataError, match="is a slide of 2 images"):
        stated_mpp(tmp_path / "two.tif")
    renamed = aperio.rename(tmp_path / "aperio.tif")
    with pytest.raises(DataError, match=r"is a slide \(aperio\); wsi-idc segment"):
        stated_mpp(renamed)


def test_what_cannot_be_meant_is_refused(tmp_path, fine):
    coarse = write_png(tmp_path / "coarse.png", fine, 8.0)
    Image.fromarray(fine).save(tmp_path / "oblong.png", dpi=(25400, 12700))
    _, errors = predict_images([coarse, tmp_path / "oblong.png"], find_model("idc-patch"))
    assert "coarse.png: states 8 um per pixel, coarser than the 4 that idc-patch sees" in str(errors[0])
    assert "oblong.png: its pixels are not square: 1 x 2 um" in str(errors[1])
