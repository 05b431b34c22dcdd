"""A painted section, segmented."""
