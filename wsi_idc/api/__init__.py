"""What is promised to Python, as the commands are on the command line: paths in, files and numbers out."""
