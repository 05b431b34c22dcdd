"""The errors that a user can act on; each message is one line that names the file and the way out."""

from __future__ import annotations


class WsiIdcError(Exception):
    """Base of every error that the command line prints without a traceback: one line with the file and the way out.

    >>> import wsi_idc
    >>> try:
    ...     wsi_idc.Slide("gone.svs")
    ... except wsi_idc.WsiIdcError as error:
    ...     print(type(error).__name__)
    SlideError
    """


class SlideError(WsiIdcError, OSError):
    """A slide that cannot be opened or read; an OSError too, as that of any other file."""


class UnreachableError(SlideError):
    """A slide that was there and cannot be reached any more, as when a network drive is gone."""


class ScaleError(SlideError, ValueError):
    """A slide that can be read, but whose um per pixel are not known or cannot be true; a ValueError too."""


class ModelError(WsiIdcError):
    """A model package that is missing, damaged or of a form that this version does not know."""


class DataError(WsiIdcError):
    """Patches or annotations that are not what they should be."""


class FormatError(DataError):
    """A name of a file to write whose suffix stands for no format."""


class MissingExtraError(WsiIdcError, ImportError):
    """A package that comes with one of the extras, and is not installed."""


class OutputError(WsiIdcError):
    """An output folder that cannot be written, or that holds something else."""


class HeldError(OutputError):
    """An output folder that another process holds."""


class OtherRunError(OutputError):
    """Results of the same slide by another model, or with other settings, which are left as they are."""


class DiskError(OutputError):
    """A disk or network drive that is full, or fails, while it is written to; what was computed is kept."""


class SettingsError(WsiIdcError, ValueError):
    """A setting that cannot be meant: unknown, out of its bounds, or at odds with another one or with the model."""


class ClusterError(WsiIdcError):
    """A cluster that cannot be reached, started, or kept."""


class LostError(WsiIdcError):
    """A task whose process died, or was ended because it took too long."""


class UnknownModelError(ModelError):
    """No model of that name or at that path."""


class PrecisionError(ModelError):
    """An engine for numbers that this processor does not compute in; nothing is wrong with the model."""


class DivergedError(DataError):
    """A training that went astray: its learning rate was too high for it."""
