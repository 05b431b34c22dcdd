"""Which files are slides: a file, a folder, a list, the scans of one file."""
