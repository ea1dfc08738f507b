"""Errors of reading a corpus; each message says what was expected, what was found, and what to do."""


class DatasetError(RuntimeError):
    """A corpus can't be used as it is."""


class DatasetMissing(DatasetError):
    """The corpus, or a part of it, is not where it was looked for."""


class DatasetLayoutError(DatasetError):
    """The corpus is there, but a table or file name is not as its layout wants it."""


class ChecksumMismatch(DatasetError):
    """A downloaded file is not the one expected."""


class UnsafeArchive(DatasetError):
    """An archive has members that would be written outside its folder."""


class AudioFileError(DatasetError):
    """An audio file can't be decoded, or holds nothing to embed."""


class SplitError(DatasetError):
    """The split asked for can't be made from the items there are."""


class CacheError(DatasetError):
    """A cache of embeddings is damaged."""
