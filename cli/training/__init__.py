"""Commands that need labelled patches."""
