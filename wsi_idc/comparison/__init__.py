"""Outlines of two sides against each other."""
