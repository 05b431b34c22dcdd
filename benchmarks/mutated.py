"""Valid files of every kind that a command reads, each with what reads it: what `benchmarks/mutations.py` damages.

They are left by a run of a small painted section, or written here as the programs write them.
"""

from __future__ import annotations

import csv
import gzip
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr

from wsi_idc import Settings, Slide, find_model
from wsi_idc.annotations.read import read_annotations
from wsi_idc.annotations.source import Frame
from wsi_idc.annotations.write import write_annotations
from wsi_idc.demo.painter import paint_section
from wsi_idc.heatmap.store import read_grid, read_heatmap, read_label
from wsi_idc.models.package import load_package
from wsi_idc.regions.interpolate import fine_grid
from wsi_idc.runs.batch import segment_slides
from wsi_idc.runs.results.folder import UNFINISHED, read_summary
from wsi_idc.runs.settings import read_settings
from wsi_idc.runs.steps import PLAN
from wsi_idc.runs.upkeep.status import read_status
from wsi_idc.runs.upkeep.verify import verify
from wsi_idc.slides.paths.listed import read_list
from wsi_idc.slides.write import write_slide
from wsi_idc.training.config import read_config
from wsi_idc.training.left.reading import read_config_of, read_familiar, read_logits, read_result
from wsi_idc.viewer.live import LiveRun

# In a command it stands for a path where nothing is.
NEW = "{new}"
_FRAME = Frame((300, 250), (4.0, 4.0), (0.0, 0.0))
_POINTS = [(100, 100), (300, 100), (300, 250), (100, 250)]
_FLAT = [float(v) for point in _POINTS for v in point]
_RING = [[*point, 0] for point in _POINTS]
_TEXT = "POLYGON ((100 100, 300 100, 300 250, 100 250, 100 100), (150 150, 200 150, 200 200, 150 150))"
_VERTICES = "".join(f'<V X="{x}" Y="{y}"/>' for x, y in _POINTS)
_CORNERS = '<V X="150" Y="150"/><V X="200" Y="190"/>'
_NANOMETRES = "".join(f"<point><x>{x * 1000}</x><y>{y * 1000}</y></point>" for x, y in _POINTS)
_CIRCLE = {"type": "circle", "center": [90, 90, 0], "radius": 20, "group": "IDC"}
_ELEMENTS: list[dict[str, Any]] = [{"type": "polyline", "closed": True, "points": _RING, "group": "IDC"}, _CIRCLE]
# As each program writes them, by the name of the file.
ANNOTATIONS = {
    "halo.annotations": f'<?xml version="1.0"?><Annotations><Annotation LineColor="65535" Name="IDC" Visible="True">'
    f'<Regions><Region Type="Polygon" HasEndcaps="0" NegativeROA="0"><Vertices>{_VERTICES}</Vertices><Comments/>'
    f'</Region><Region Type="Ellipse" HasEndcaps="0" NegativeROA="1"><Vertices>{_CORNERS}</Vertices></Region>'
    "</Regions></Annotation></Annotations>",
    "a.ndpa": '<?xml version="1.0" encoding="utf-8"?><annotations><ndpviewstate id="1"><title>IDC</title><details/>'
    "<coordformat>nanometers</coordformat><lens>1.0</lens><x>0</x><y>0</y>"
    '<annotation type="freehand" displayname="Annotate" color="#ff0000"><measuretype>0</measuretype><closed>1</closed>'
    f"<pointlist>{_NANOMETRES}</pointlist></annotation></ndpviewstate></annotations>",
    "coco.json": json.dumps(
        {
            "images": [{"id": 1, "file_name": "a.svs", "width": 300, "height": 250}],
            "annotations": [
                {"id": 5, "image_id": 1, "category_id": 7, "segmentation": [_FLAT]},
                {"id": 6, "image_id": 1, "category_id": 7, "segmentation": [], "bbox": [1, 2, 30, 40]},
            ],
            "categories": [{"id": 7, "name": "IDC"}],
        }
    ),
    "histomics.json": json.dumps({"name": "Pathologist", "description": "", "elements": _ELEMENTS}),
    "cytomine.json": json.dumps({"collection": [{"id": 3, "location": _TEXT, "term": [{"id": 44, "name": "IDC"}]}]}),
    "cytomine.wkt": f"{_TEXT}\n{_TEXT}\n",
}
_METRIC = {"value": 0.5, "ci95": [0.4, None]}
_VAL = {"patients": 2} | dict.fromkeys(("auc", "f1", "balanced_accuracy", "accuracy", "ece"), _METRIC)
TRAINING = {
    "run.json": json.dumps(
        {"architecture": "small", "patch_size": 50, "halo": 0, "training_data": {"patients": 2, "patches": 9}}
        | {"threshold": 0.5, "temperature": 1.0, "metrics": {"val": _VAL}}
    ),
    "val-logits.csv": "patient,path,label,logit\n8867,a.png,0,-1.5\n8914,b.png,1,2.25\n",
    "familiar.json": json.dumps({"mean": [0.5, 1.0], "limit": 3.0}),
    "config.toml": '[data]\ncache = "memory"\n[optimizer]\nlearning_rate = 0.02\n[fit]\nepochs = 2\n',
}
SETTINGS = 'threshold = 0.4\nmin_area_mm2 = 0.1\nbands = [0.3, 0.7]\nicc = "apply"\ntta = true\nstride = 25\n'
OME = (
    '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Instrument ID="i:0">'
    '<Objective ID="o:0" NominalMagnification="20"/></Instrument><Image ID="Image:0" Name="a"><Pixels ID="p:0" '
    'DimensionOrder="XYCZT" Type="uint8" SizeX="128" SizeY="128" SizeC="3" SizeZ="1" SizeT="1" PhysicalSizeX="4.0" '
    'PhysicalSizeY="4.0"><Channel ID="c:0" SamplesPerPixel="3"/><TiffData IFD="0" PlaneCount="1"/></Pixels></Image>'
    "</OME>"
)


@dataclass(frozen=True, slots=True)
class Input:
    """A valid file at `path`, what reads it in Python, and the commands that read it, if any, each given in turn.

    `wrap` makes the bytes of the file of what is damaged, where that is a part of it only.
    """

    name: str
    path: Path
    content: bytes
    read: Callable[[], object]
    commands: Sequence[Sequence[str]]
    wrap: Callable[[bytes], bytes] = bytes


def make_inputs(folder: Path) -> list[Input]:
    """Write all of them into a new folder: a slide, its run, and the files of other programs."""
    folder.mkdir()
    section = paint_section(1.2, 1.0, 4.0, seed=1)
    slide = write_slide(folder / "painted.tif", section.pixels, section.mpp, downsamples=(1,), compression="deflate")
    segment_slides([slide], folder / "out", find_model("idc-patch"), Settings())
    (folder / "data").mkdir()
    return [
        *_of_run(folder),
        *_of_unfinished_runs(folder, slide),
        *_of_other_programs(folder, slide),
        *_of_models(folder),
        *_of_settings(folder),
        *_of_slides(folder, slide),
    ]


def _input(path: Path, read: Callable[[], object], *commands: str, name: str = "") -> Input:
    return Input(name or path.name, path, path.read_bytes(), read, [command.split() for command in commands])


def _of_run(folder: Path) -> list[Input]:
    out, run = folder / "out", folder / "out" / "painted"
    heatmap, regions = run / "heatmap.zarr", run / "regions.geojson"
    truth = Path(shutil.copy(regions, folder / "truth.geojson"))
    of_folder = (f"status {out}", f"verify {out}", f"status {out} --json", f"verify {out} --json")
    of_run = (f"convert {run} {NEW}.geojson", f"compare {run} {truth}", f"compare {truth} {run} --json")
    of_heatmap = (f"delineate {heatmap} -o {NEW}", f"convert {run} {NEW}.geojson --as tiles", f"verify {run}")
    of_labels = f"convert {truth} {NEW}.zarr --like {heatmap}"

    def read_numbers() -> None:
        grid = read_grid(heatmap)
        read_heatmap(heatmap)
        read_label(heatmap, "tissue", fine_grid(grid).shape)
        read_label(heatmap, "idc")

    arrays = sorted(p for p in heatmap.rglob("zarr.json") if p.parent != heatmap)
    chunk = max((p for p in (heatmap / "0" / "c").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    return [
        _input(run / "summary.json", lambda: (verify(out), read_summary(run)), *of_folder, *of_run, of_heatmap[0]),
        _input(out / "manifest.csv", lambda: (verify(out), read_status(out)), *of_folder),
        *(_input(p, lambda: read_status(out), *of_folder) for p in out.glob(".manifest.*") if p.stat().st_size),
        _input(heatmap / "zarr.json", read_numbers, *of_heatmap, of_labels, name="heatmap, zarr.json"),
        *(
            _input(p, read_numbers, *of_heatmap, name=f"heatmap, {p.relative_to(heatmap)}")
            for p in arrays
            if '"array"' in p.read_text()
        ),
        _input(chunk, read_numbers, *of_heatmap, name="heatmap, a chunk"),
        _input(regions, lambda: read_annotations(run), *of_run),
        _input(run / "report.html", lambda: verify(out), *of_folder[:2]),
    ]


def _of_unfinished_runs(folder: Path, slide: Path) -> list[Input]:
    """Return what a run leaves beside its results while it is at work."""
    out = Path(shutil.copytree(folder / "out", folder / "changed"))
    (row,) = csv.DictReader((out / "manifest.csv").read_text().splitlines())
    changes = out / ".manifest.changes"
    changes.write_text(json.dumps(row) + "\n" + json.dumps(row | {"slide": "other.tif", "folder": "other"}) + "\n")
    run = folder / "live" / "painted"
    (run / UNFINISHED).mkdir(parents=True)
    grid = read_grid(folder / "out" / "painted" / "heatmap.zarr")
    facts = {"slide_size": grid.slide_size, "slide_mpp": grid.slide_mpp, "patch_size": grid.patch_size, "mpp": grid.mpp}
    plan = {"grid": facts, "slide": str(slide), "mpp": 4.0, "threshold": 0.5, "patches": 9}
    (run / UNFINISHED / PLAN).write_text(json.dumps(plan))
    told = (f"status {out}", f"verify {out}", f"status {out} --json")
    return [
        _input(changes, lambda: read_status(out), *told),
        _input(run / UNFINISHED / PLAN, lambda: LiveRun(run).__exit__(), f"status {folder / 'live'}"),
    ]


def _of_other_programs(folder: Path, slide: Path) -> list[Input]:
    truth = folder / "truth.geojson"
    drawn = folder / "drawn"
    drawn.mkdir()
    outlines = read_annotations(truth).annotations
    for name, style in (("asap.xml", "asap"), ("imagescope.xml", "imagescope"), ("qupath.geojson", "asap")):
        write_annotations(drawn / name, outlines, mpp=(4.0, 4.0), style=style)  # type: ignore[arg-type]
    (drawn / "qupath.geojson.gz").write_bytes(gzip.compress((drawn / "qupath.geojson").read_bytes(), mtime=0))
    for name, text in ANNOTATIONS.items():
        (drawn / name).write_text(text)

    def reader(path: Path) -> Callable[[], object]:
        return lambda: read_annotations(path, slide=_FRAME)

    converted, compared = f"{NEW}.geojson --slide {slide}", f"{truth} --mpp 4"
    patients = folder / "patients.csv"
    patients.write_text("slide,patient\npainted,p1\nother,p2\n")
    by_patient = f"compare {folder / 'out'} {folder / 'out'} --patients {patients}"
    from wsi_idc import compare

    return [
        *(_input(p, reader(p), f"convert {p} {converted}", f"compare {p} {compared}") for p in sorted(drawn.iterdir())),
        _input(patients, lambda: compare(folder / "out", folder / "out", patients=patients), by_patient),
    ]


def _of_models(folder: Path) -> list[Input]:
    package = Path(shutil.copytree(find_model("idc-patch").folder, folder / "model"))
    training = folder / "training"
    training.mkdir()
    for name, text in TRAINING.items():
        (training / name).write_text(text)

    def read_training() -> None:
        read_result(training)
        read_logits(training)
        read_familiar(training)
        read_config_of(training)

    shown = (f"models show {package}", f"models show {package} --json")
    return [
        _input(package / "model.json", lambda: load_package(package), *shown),
        *(_input(training / name, read_training, name=f"training, {name}") for name in TRAINING),
    ]


def _of_settings(folder: Path) -> list[Input]:
    settings, config = folder / "settings.toml", folder / "config.toml"
    settings.write_text(SETTINGS)
    config.write_text(TRAINING["config.toml"])
    plain, table = folder / "lists" / "slides.txt", folder / "lists" / "slides.csv"
    plain.parent.mkdir()
    plain.write_text("# slides\na.tif\nfolder/b.svs\n")
    table.write_text("path,mpp,name\na.tif,4.0,one\nfolder/b.svs,,two\n")

    def listed(path: Path) -> Callable[[], object]:
        return lambda: read_list(path)

    # Where a list can be read, that is a file says so before any slide is looked at.
    dry = f"--model idc-patch -o {settings}"
    return [
        _input(settings, lambda: read_settings(settings), f"segment --config {settings} --print-config"),
        _input(config, lambda: read_config(config), f"train {folder / 'data'} -o {NEW} --config {config}"),
        *(_input(p, listed(p), f"segment --list {p} {dry}") for p in (plain, table)),
    ]


def _of_slides(folder: Path, slide: Path) -> list[Input]:
    small, ome = folder / "small.tif", folder / "small.ome.tif"
    # So small that what is damaged is often a tag.
    pixels = paint_section(1.2, 1.0, 4.0, seed=1).pixels[64:192, 64:192]
    write_slide(small, pixels, 4.0, downsamples=(1, 2), tile=64, compression="jpeg")

    def with_description(text: bytes) -> bytes:
        # Tags of text end in a zero.
        tifffile.imwrite(ome, pixels, photometric="rgb", tile=(64, 64), metadata=None, description=text)
        return ome.read_bytes()

    def reader(path: Path) -> Callable[[], object]:
        def read() -> None:
            with Slide(path, mpp=4.0) as opened:
                width, height = opened.size
                opened.read(0, 0, min(width, 512), min(height, 512), 8.0)

        return read

    store = folder / "store.zarr"
    group = zarr.open_group(store, mode="w", zarr_format=3)
    group.create_array("0", data=np.moveaxis(pixels, 2, 0), chunks=(3, 64, 64))
    space = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"]
    level = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1.0, 4.0, 4.0]}]}
    image = {"axes": [{"name": "c", "type": "channel"}, *space], "datasets": [level]}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    with_description(OME.encode())
    told = Input("OME-XML", ome, OME.encode(), reader(ome), [["info", str(ome)]], with_description)
    return [
        _input(small, reader(small), f"info {small}", f"info {small} --json"),
        _input(slide, reader(slide), f"info {slide}", name="painted.tif"),
        told,
        *(
            _input(p, reader(store), f"info {store}", name=f"OME-Zarr, {p.relative_to(store)}")
            for p in (store / "zarr.json", store / "0" / "zarr.json", store / "0" / "c" / "0" / "0" / "1")
        ),
    ]
