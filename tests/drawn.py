"""Files of annotations as QuPath, ASAP and ImageScope write them, and what all of their tests look at."""

import json

SQUARE = [[0, 0], [100, 0], [100, 100], [0, 100], [0, 0]]
HOLE = [[20, 20], [20, 40], [40, 40], [40, 20], [20, 20]]


def written(path, content):
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def feature(coordinates=(SQUARE,), kind="Polygon", **properties):
    return {
        "type": "Feature",
        "geometry": {"type": kind, "coordinates": list(coordinates)},
        "properties": properties,
    }


def annotated(points, kind="Polygon", group="tumor", name="a", color="#0000ff", step=1):
    order = list(range(len(points)))[::step]
    inside = "".join(f'<Coordinate Order="{i}" X="{points[i][0]}" Y="{points[i][1]}"/>' for i in order)
    facts = f'Name="{name}" Type="{kind}" PartOfGroup="{group}" Color="{color}"'
    return f"<Annotation {facts}><Coordinates>{inside}</Coordinates></Annotation>"


def asap(tmp_path, *annotations, groups=""):
    text = f"<Annotations>{''.join(annotations)}</Annotations><AnnotationGroups>{groups}</AnnotationGroups>"
    return written(tmp_path / "asap.xml", f'<?xml version="1.0"?><ASAP_Annotations>{text}</ASAP_Annotations>')


def region(points, kind=0, negative=0, text="", number=1):
    inside = "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in points)
    facts = f'Id="{number}" Type="{kind}" NegativeROA="{negative}" Text="{text}"'
    return f"<Region {facts}><Attributes/><Vertices>{inside}</Vertices></Region>"


def layer(*regions, name="", attribute="Description", value="", color=255):
    attributes = f'<Attributes><Attribute Name="{attribute}" Id="0" Value="{value}"/></Attributes>'
    inside = f"{attributes}<Regions>{''.join(regions)}</Regions>"
    return f'<Annotation Id="1" Name="{name}" LineColor="{color}">{inside}</Annotation>'


def imagescope(tmp_path, *layers):
    return written(tmp_path / "imagescope.xml", f'<Annotations MicronsPerPixel="0.25">{"".join(layers)}</Annotations>')


def areas(found):
    return [a.geometry.area for a in found.annotations]
