"""Architectures, the registry and the model packages that ship; imports nothing of the library but what is below it."""
