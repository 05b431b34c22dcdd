import os
import shutil
from pathlib import Path

import pytest

from wsi_idc.errors import DataError, SlideError
from wsi_idc.slides.paths.find import file_to_open, find_slides, output_names
from wsi_idc.slides.paths.listed import read_list


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def dicom(path, series):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\0" * 128 + b"DICM" + b"\x20\x00\x0e\x00UI" + bytes([len(series), 0]) + series.encode())


def test_folders_files_and_patterns(tmp_path):
    a, b, c, other = (tmp_path / n for n in ("a.svs", "b.TIFF", "c.ndpi", "notes.txt"))
    files = [tmp_path / "series" / n for n in ("1.dcm", "2.dcm")]
    deep = tmp_path / "folder" / "deep.svs"
    touch(a, b, c, other, deep)
    for path in files:
        dicom(path, "1.2.3")
    assert find_slides([tmp_path]) == [a, b, c, tmp_path / "series"]
    assert find_slides([files[0].parent]) == [files[0].parent]
    assert find_slides([tmp_path / "*.svs", c, a]) == [a, c]
    assert find_slides([other]) == [other], "named by the user: the reader will say what is wrong with it"
    assert find_slides([tmp_path / "missing.svs"]) == [tmp_path / "missing.svs"]


def test_a_file_whose_name_looks_like_a_pattern(tmp_path):
    odd = tmp_path / "slide [1].svs"
    touch(odd, tmp_path / "slide 1.svs")
    assert find_slides([odd]) == [odd]


def test_a_folder_without_slides(tmp_path):
    touch(tmp_path / "notes.txt")
    with pytest.raises(DataError, match="no slides there"):
        find_slides([tmp_path])


def test_slides_of_one_name_get_folders_of_their_own(tmp_path):
    slides = [tmp_path / "a" / "1.svs", tmp_path / "b" / "1.svs", tmp_path / "b" / "2.svs"]
    names = output_names(slides)
    assert names[2] == "2"
    assert len(set(names)) == 3
    assert all(n.startswith("1-") for n in names[:2])
    assert output_names(slides[::-1]) == names[::-1]


def test_hidden_files_and_repeated_ones_are_no_further_slides(tmp_path, monkeypatch):
    slide, hidden = tmp_path / "a.svs", tmp_path / "._a.svs"
    touch(slide, hidden, tmp_path / "manifest.csv")
    monkeypatch.chdir(tmp_path)
    assert find_slides(["a.svs", "./a.svs", slide, tmp_path, "*"]) == [type(slide)("a.svs")]


def test_a_pattern_without_match(tmp_path):
    with pytest.raises(DataError, match="no slides there"):
        find_slides([tmp_path / "*.svs"])


def test_each_dicom_series_is_one_slide(tmp_path):
    one, two, mixed = tmp_path / "one", tmp_path / "two", tmp_path / "mixed"
    for n in range(3):
        dicom(one / f"{n}.DCM", "1.2.3")
        dicom(two / f"{n}.dcm", f"1.2.{n % 2}")
        dicom(mixed / f"{n}.dcm", "1.2.3")
    touch(mixed / "other.svs")
    assert find_slides([one]) == [one]
    assert find_slides([two]) == [two / "0.dcm", two / "1.dcm"]
    assert find_slides([mixed]) == [mixed / "0.dcm", mixed / "other.svs"]
    left = []
    assert find_slides([tmp_path], on_left=left.append) == [one], "a folder that is a slide; no other is entered"
    assert left == [mixed, two]
    everything = sorted([mixed / "0.dcm", mixed / "other.svs", one, two / "0.dcm", two / "1.dcm"])
    assert find_slides([tmp_path], recursive=True, on_left=left.append) == everything
    assert left == [mixed, two]
    shutil.rmtree(one)
    with pytest.raises(DataError, match="no slides there, but in subfolders such as mixed, which --recursive takes"):
        find_slides([tmp_path])


def test_output_names_stay_inside_the_output_folder(tmp_path, monkeypatch):
    folder = tmp_path / "case 7"
    dicom(folder / "1.dcm", "1.2")
    (folder / "below").mkdir()
    monkeypatch.chdir(folder)
    assert output_names(find_slides(["."])) == ["case 7"]
    monkeypatch.chdir(folder / "below")
    assert output_names(find_slides([".."])) == ["case 7"]
    (name,) = output_names([tmp_path / "manifest.csv.tif"])
    assert name.startswith("manifest.csv-")


def test_subfolders_when_asked_for(tmp_path):
    top, deep, mrxs = tmp_path / "a.svs", tmp_path / "2024" / "may" / "b.ndpi", tmp_path / "2024" / "c.mrxs"
    touch(top, deep, mrxs, mrxs.with_suffix("") / "Data0001.tif", tmp_path / ".hidden" / "d.svs")
    touch(tmp_path / "out" / "a" / "heatmap.zarr" / "zarr.json", tmp_path / "out" / "a" / "overview.tif")
    series, mixed = tmp_path / "2024" / "series", tmp_path / "2024" / "mixed"
    dicom(series / "1.dcm", "1.2")
    dicom(series / "2.dcm", "1.2")
    dicom(mixed / "1.dcm", "1.3")
    touch(mixed / "e.svs", series / "below" / "f.svs")
    (tmp_path / "2024" / "circle").symlink_to(tmp_path)
    everything = sorted([top, deep, mrxs, series, series / "below" / "f.svs", mixed / "1.dcm", mixed / "e.svs"])
    assert find_slides([tmp_path], recursive=True) == everything
    assert find_slides([tmp_path]) == [top]
    assert find_slides([tmp_path / "2024"]) == [mrxs, series]
    (tmp_path / "2024" / "circle").unlink()
    assert find_slides([tmp_path / "20*"], recursive=True) == [s for s in everything if s != top]


def test_a_list_of_slides(tmp_path):
    path = tmp_path / "lists" / "today.txt"
    path.parent.mkdir()
    odd = os.fsdecode(b"latin\xe9 #2.svs")
    text = f"# today\r\n\r\n  {tmp_path}/a.svs\r\n../b.svs\n{odd}\n"
    path.write_bytes(b"\xef\xbb\xbf" + os.fsencode(text))
    assert read_list(path) == [f"{tmp_path}/a.svs", f"{path.parent}/../b.svs", f"{path.parent}/{odd}"]
    assert len(find_slides(read_list(path))) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "names no slides"), (b"# only\n \n", "names no slides"), ("a.svs".encode("utf-16"), "plain text in UTF-8")],
)
def test_lists_without_slides(tmp_path, content, message):
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_list(tmp_path / "list.txt")
    with pytest.raises(DataError, match="cannot be read"):
        read_list(tmp_path / "gone.txt")


def test_a_slide_keeps_the_name_it_was_given(tmp_path):
    one, two = tmp_path / "a" / "1.svs", tmp_path / "b" / "1.svs"
    together = dict(zip(map(str, (one, two)), output_names([one, two]), strict=True))
    assert output_names([one], together) == [together[str(one)]]
    assert output_names([two], together) == [together[str(two)]]
    alone = {str(one): "1"}
    assert output_names([one, two], alone)[0] == "1"
    assert output_names([two], alone) == [together[str(two)]], "not the folder of the other"
    assert output_names([two, one], {str(one): "1", str(two): "1"}) == [together[str(two)], "1"]
    assert output_names([one], {str(one): "../elsewhere"}) == ["1"]


def test_a_name_of_dots_leads_to_no_other_folder():
    names = output_names([Path("/a/...svs"), Path("/a/..svs"), Path("/a/....svs"), Path("/a/a.svs")])
    assert names == ["slide..", "slide.", "slide...", "a"]


def test_a_name_longer_than_any_may_be_is_named(tmp_path):
    with pytest.raises(SlideError, match="cannot be read"):
        file_to_open(tmp_path / ("a" * 5000), tmp_path / ("a" * 5000))
