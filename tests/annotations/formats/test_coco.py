"""COCO JSON: categories, several polygons of one instance, and which image is the slide."""

import pytest
from shapely import box

from wsi_idc.annotations.read import read_annotations
from wsi_idc.annotations.source import Frame
from wsi_idc.errors import DataError

from drawn import areas, written

SQUARE = [0, 0, 100, 0, 100, 100, 0, 100]


def instance(segmentation=(SQUARE,), image=1, category=7, **more):
    drawn = segmentation if isinstance(segmentation, dict) else list(segmentation)
    return {"id": 5, "image_id": image, "category_id": category, "segmentation": drawn, **more}


def coco(*annotations, images=("a.svs",), size=(1000, 500)):
    listed = [{"id": n, "file_name": f, "width": size[0], "height": size[1]} for n, f in enumerate(images, 1)]
    categories = [{"id": 7, "name": "IDC"}, {"id": 8, "name": "Other"}]
    return {"images": listed, "annotations": list(annotations), "categories": categories}


def test_instances_of_categories(tmp_path):
    shifted = [v + 200 for v in SQUARE]
    document = coco(instance(), instance([SQUARE, shifted], category=8), instance(SQUARE, category=9))
    found = read_annotations(written(tmp_path / "a.json", document))
    assert [(a.classification, a.geometry.area) for a in found.annotations] == [
        ("IDC", 10000),
        ("Other", 20000),
        ("9", 10000),
    ]
    assert found.notes == []


def test_a_box_is_taken_and_a_mask_is_not(tmp_path):
    mask = instance({"counts": [1, 2], "size": [3, 3]})
    document = coco(instance((), bbox=[10, 20, 30, 40]), mask, instance(([1, 2, 3],)), instance(()))
    found = read_annotations(written(tmp_path / "a.json", document))
    assert found.annotations[0].geometry.equals(box(10, 20, 40, 60))
    assert len(found.annotations) == 1
    assert found.left_out == 3
    assert "annotation 5: has a box and no outline, taken as the area of the box" in found.notes
    assert any("is a mask (run lengths), which is not read; export polygons" in note for note in found.notes)


def test_of_several_images_the_one_of_the_name_of_the_slide(tmp_path):
    document = coco(instance(image=1), instance(([0, 0, 10, 0, 10, 10],), image=2), images=("x/a.svs", "b.svs"))
    assert areas(read_annotations(written(tmp_path / "b.json", document))) == [50]
    with pytest.raises(DataError, match="outlines 2 images"):
        read_annotations(written(tmp_path / "c.json", document))
    # The names of the file and of the slide that is given.
    assert areas(read_annotations(written(tmp_path / "a.coco.json", document))) == [10000]


def test_an_image_of_another_size_than_the_slide_is_refused(tmp_path):
    path = written(tmp_path / "a.json", coco(instance()))
    assert areas(read_annotations(path, slide=Frame((1000, 500)))) == [10000]
    with pytest.raises(DataError, match="on an image of 1000x500 pixels, and the slide has 4000x2000"):
        read_annotations(path, slide=Frame((4000, 2000)))
