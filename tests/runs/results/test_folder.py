from wsi_idc.runs.results.folder import OUTPUTS, holding, writing_to


def test_results_reach_the_disk_before_their_names_and_the_summary_comes_last(tmp_path, order):
    with holding(tmp_path / "out"), writing_to(tmp_path / "out") as place:
        (place / "heatmap.zarr" / "0").mkdir(parents=True)
        for name in ("heatmap.zarr/0/c", *OUTPUTS[1:]):
            (place / name).write_text(name)
    out = tmp_path / "out"
    names = [event[2] for event in order if event[0] == "name"]
    assert names == list(OUTPUTS)
    first = next(n for n, event in enumerate(order) if event[0] == "name")
    synced = {event[1] for event in order[:first]}
    assert {p.stat().st_ino for p in [*out.rglob("*")] if p.name != ".lock"} <= synced
    # The names of the others too, before the name that says that they are whole.
    assert order[-2] == ("sync", out.stat().st_ino)
    assert order[-1][2] == "summary.json"
