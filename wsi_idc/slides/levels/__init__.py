"""The levels of a slide: which images are smaller copies of one view, and whether they show it."""
