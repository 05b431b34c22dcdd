"""`wsi-idc demo`."""

from __future__ import annotations

from pathlib import Path

import click

from wsi_idc.cli.options import echo, engine_option, overwrite_option


@click.command()
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path("wsi-idc-demo"), show_default=True, help="Folder."
)
@click.option("--seed", type=click.IntRange(0), default=3, show_default=True, help="Another seed, another section.")
@engine_option
@overwrite_option
def demo(output: Path, seed: int, engine: str, overwrite: bool) -> None:
    """Paint a breast-like section, segment it with the shipped model and say what was found.

    The section is painted by a program: it shows how the tool works, not how well the model does on real tissue.
    """
    from wsi_idc.cli.progress import print_outcome
    from wsi_idc.demo.demo import run_demo

    result = run_demo(output, seed, engine, overwrite)
    echo(f"painted section: {result.slide}")
    print_outcome(result.slide, result.outcome)
    for region in result.regions():
        x, y = (region[f"Centroid {axis} um"] / 1000 for axis in "xy")
        echo(
            f"  {region['name']:8}{region['Area mm2']:6.2f} mm2 at x {x:.2f} mm, y {y:.2f} mm, "
            f"mean probability {region['Mean probability']:.2f}"
        )
    echo("share of the patches of each painted class that was found to be IDC:")
    for name, (share, patches) in result.found.items():
        echo(f"  {name:8}{share:6.1%} of {patches}")
    for path in (result.outcome.overview, result.outcome.regions, result.outcome.folder / "report.html"):
        echo(path)
