"""What knows nothing of slides: files, threads, figures, sums."""
