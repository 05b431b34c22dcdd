"""Commands that look after output folders."""
