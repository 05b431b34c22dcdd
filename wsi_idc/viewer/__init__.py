"""A run on its slide in a browser: any magnification, another threshold."""
