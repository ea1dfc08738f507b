"""Errors of reading sound; each message says what was expected, what was found, and what to do."""


class ToldByWorkers(RuntimeError):
    """An error whose text stays one line where a loader's worker process raises it."""

    def __str__(self) -> str:
        text = super().__str__()
        # torch raises what a worker process raised anew, with the worker's traceback before the message
        return text.rpartition(f"{type(self).__qualname__}: ")[2].rstrip() if text.startswith("Caught ") else text


class SoundError(ToldByWorkers):
    """Sound can't be used as it is."""


class AudioFileError(SoundError):
    """An audio file can't be decoded, or holds nothing to embed."""
