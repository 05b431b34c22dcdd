"""OME-Zarr images as slides."""
