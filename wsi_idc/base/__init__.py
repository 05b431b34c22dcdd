"""What knows nothing of slides: files, rasters, threads, polygons, figures, pages, settings."""
