"""Architectures, the registry and the model packages that ship; imports nothing of the library but its errors."""
