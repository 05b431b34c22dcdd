"""The one thing that pyproject.toml cannot say: every folder of `wsi_idc`, and `cli` and `models` below it by name."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["wsi_idc", "wsi_idc.*"]),
        *(f"wsi_idc.{name}" for name in find_packages(include=["cli", "cli.*", "models", "models.*"])),
    ]
)
