"""The IDC patches: read them, split them by patient, put sections together again."""
