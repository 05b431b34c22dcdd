"""What a training leaves in its folder: to be looked at, and read back."""
