from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from wsi_idc.errors import DataError
from wsi_idc.slides.paths.address import SlideAddress
from wsi_idc.slides.paths.find import find_slides, output_names
from wsi_idc.slides.paths.listed import read_list
from wsi_idc.slides.paths.series import with_series
from wsi_idc.slides.slide import Slide

ADDRESSES = [
    SlideAddress(Path("a.tif")),
    SlideAddress(Path("a.tif"), 3),
    SlideAddress(Path("a b/c.tif"), None, 0.25),
    SlideAddress(Path("a.tif"), 1, 0.1234567890123, "case 7, left"),
    SlideAddress(Path("a.tif"), None, None, "x"),
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_is_read_back(address: SlideAddress) -> None:
    assert SlideAddress.of(address.path) == address
    assert SlideAddress.of(str(address.path)) == address


@pytest.mark.parametrize("name", ["a.tif", "a::b.tif", "a.tif::", "a.tif::series=x", "a.tif::mpp=1.2.3", "::.tif"])
def test_other_paths_are_those_of_files(name: str) -> None:
    assert SlideAddress.of(name) == SlideAddress(Path(name))


def test_a_file_that_is_called_like_an_address_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.tif::series=1"
    path.touch()
    assert SlideAddress.of(path) == SlideAddress(path)


@pytest.fixture
def two_scans(tmp_path: Path) -> Path:
    path = tmp_path / "two.tif"
    rng = np.random.default_rng(0)
    with tifffile.TiffWriter(path) as tiff:
        for size in ((200, 300), (150, 250), (20, 30)):
            options = {"description": "label"} if size[0] == 20 else {"resolution": (1e4, 1e4), "resolutionunit": 3}
            tiff.write(
                rng.integers(0, 256, (*size, 3), np.uint8), photometric="rgb", tile=(64, 64), metadata=None, **options
            )
    return path


def test_the_scans_of_a_file_each_with_a_folder(two_scans: Path, tmp_path: Path) -> None:
    other = tmp_path / "none.tif"
    every = with_series([two_scans, other], None)
    assert [str(p) for p in every] == [f"{two_scans}::series=0", f"{two_scans}::series=1", str(other)]
    assert output_names(every) == ["two-series-0", "two-series-1", "none"]
    sizes = []
    for path in every[:2]:
        with Slide(path) as slide:
            sizes.append(slide.size)
    assert sizes == [(300, 200), (250, 150)]
    assert with_series([two_scans], 2) == [Path(f"{two_scans}::series=2")]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_gives_scale_and_name(two_scans: Path, separator: str) -> None:
    rows = [["Path", "MPP", "Name"], ["two.tif", "0,5" if separator == ";" else "0.5", "case 7"], ["other.svs", "", ""]]
    table = two_scans.parent / "list.csv"
    table.write_text("\ufeff" + "\r\n".join(separator.join(row) for row in rows))
    found = find_slides([two_scans, *read_list(table)])
    assert [str(p) for p in found] == [f"{two_scans}::mpp=0.5,name=case 7", str(table.parent / "other.svs")]
    assert output_names(found) == ["case 7", "other"]
    with Slide(found[0], mpp=2.0) as slide:
        assert slide.mpp.x == slide.given_mpp == 0.5 and "list" in slide.mpp.source
        assert any("but the list's mpp 0.5 was used" in w for w in slide.warnings)


def test_a_table_of_paths_and_quoted_commas(tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_text('path,patient\n"a, b.svs",7\nc.svs,8\n')
    assert read_list(table) == [str(tmp_path / "a, b.svs"), str(tmp_path / "c.svs")]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.svs,abc,", "row 1: mpp 'abc'"),
        ("a.svs,100,", "row 1: mpp '100'"),
        ("a.svs,nan,", "row 1: mpp 'nan'"),
        (",0.5,x", "row 1 of the list has no path"),
        ("a.svs,0.5,x,y", "more columns than its head"),
        ("a.svs,0.5,../x", "cannot name a folder"),
        ("a.svs,0.5,.x", "cannot name a folder"),
        ("a.svs,0.5,x\na.svs,1.0,y", "row 2 of the list names a.svs again, which row 1 does as a.svs"),
        ("a.svs,0.5,x\nb.svs,,\n./a.svs,1.0,y", r"row 3 of the list names \./a\.svs again, which row 1 does as a\.svs"),
        ("a.svs,0.5,x\nb.svs,0.5,x", "row 2: 'x' cannot name a folder of its own"),
    ],
)
def test_tables_that_say_what_cannot_be_meant(tmp_path: Path, row: str, message: str) -> None:
    (tmp_path / "list.csv").write_text(f"path,mpp,name\n{row}\n")
    with pytest.raises(DataError, match=message):
        read_list(tmp_path / "list.csv")


def test_a_link_in_a_table_is_the_slide_that_it_leads_to(two_scans: Path) -> None:
    (two_scans.parent / "link.tif").symlink_to(two_scans)
    (table := two_scans.parent / "linked.csv").write_text("path,mpp\nlink.tif,0.5\ntwo.tif,1\n")
    with pytest.raises(DataError, match=r"row 2 .* names two\.tif again, which row 1 does as link\.tif"):
        read_list(table)


def test_what_is_said_of_a_slide_by_two_is_refused_where_it_differs_and_kept_where_not(tmp_path: Path) -> None:
    (slide := tmp_path / "a.tif").touch()
    (tmp_path / "link.tif").symlink_to(slide)
    for other in (f"{slide}::mpp=4", f"{tmp_path}/./link.tif::mpp=4", f"{tmp_path}/a.*::mpp=4"):
        with pytest.raises(DataError, match=r"a\.tif::mpp=2: is named again, as .*::mpp=4; keep one of the two"):
            find_slides([f"{slide}::mpp=2", other])
    with pytest.raises(DataError, match="is named again"):
        find_slides([f"{slide}::name=x", slide, f"{slide}::name=y"])
    (found,) = find_slides([slide, f"{slide}::mpp=2", f"{tmp_path / 'link.tif'}::name=case 7", slide])
    assert str(found) == f"{slide}::mpp=2,name=case 7"


def test_the_head_of_a_table_without_paths_is_no_path(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("slide, mpp\na.svs, 0.5\n")
    with pytest.raises(DataError, match="names no column path"):
        read_list(tmp_path / "list.csv")


def test_people_read_names_not_addresses():
    assert SlideAddress(Path("a/b.svs")).shown == "b.svs"
    assert SlideAddress(Path("a/b.svs"), 2, 0.25).shown == "b.svs, image 2"
    assert SlideAddress(Path("a/b.svs"), 2, 0.25, "Case 7").shown == "Case 7 (b.svs, image 2)"
