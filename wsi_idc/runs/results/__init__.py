"""What a run leaves in the folder of a slide, and what it is known again by."""
