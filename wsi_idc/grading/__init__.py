"""The fields most worth grading."""
