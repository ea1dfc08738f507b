"""Errors of reading a corpus; each message says what was expected, what was found, and what to do."""

from sound.errors import ToldByWorkers


class DatasetError(ToldByWorkers):
    """A corpus can't be used as it is."""


class DatasetMissing(DatasetError):
    """The corpus, or a part of it, is not where it was looked for."""


class DatasetLayoutError(DatasetError):
    """The corpus is there, but a table or file name is not as its layout wants it."""


class SplitError(DatasetError):
    """The split asked for can't be made from the items there are."""
