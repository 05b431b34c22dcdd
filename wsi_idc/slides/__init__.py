"""A slide file: found, opened, its scale checked, its pixels read at any scale."""
