"""A module for each format that annotations are read from or written in."""
