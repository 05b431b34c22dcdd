"""A model against labelled patches."""
