"""Errors of reading a corpus; each message says what was expected, what was found, and what to do."""


class DatasetError(RuntimeError):
    """A corpus can't be used as it is."""

    def __str__(self) -> str:
        text = super().__str__()
        # torch raises what a worker process raised anew, with the worker's traceback before the message
        return text.rpartition(f"{type(self).__qualname__}: ")[2].rstrip() if text.startswith("Caught ") else text


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
