"""A probability for each patch of a slide, computed in chunks and stored as OME-Zarr."""
