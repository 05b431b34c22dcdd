"""A slide or a folder from file to results."""
