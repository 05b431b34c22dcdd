"""Slides that are TIFF, where OpenSlide declines them or is slow."""
