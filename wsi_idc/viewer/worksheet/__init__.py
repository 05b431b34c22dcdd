"""The grading worksheet as a page of the viewer."""
