"""What is read: files that anybody may have written, within bounds of size, depth and numbers."""
