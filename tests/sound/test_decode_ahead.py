"""Files come in their order, few of them early, and a bad one does not end the others."""

from pathlib import Path

import pytest

from sound.decode_ahead import decode_ahead
from sound.errors import AudioFileError

PATHS = [Path(str(number)) for number in range(20)]


def decode(path: Path) -> int:
    if path.name == "3":
        raise AudioFileError("3: expected audio, found none")
    return int(path.name)


@pytest.mark.parametrize(("num_threads", "num_ahead"), [(1, 1), (4, 3), (None, 50)])
def test_order_is_kept_and_errors_are_handed_on(num_threads: int | None, num_ahead: int) -> None:
    found = list(decode_ahead(decode, PATHS, num_threads, num_ahead))
    assert isinstance(found[3], AudioFileError)
    assert [each for each in found if isinstance(each, int)] == [number for number in range(20) if number != 3]
    assert list(decode_ahead(decode, [], num_threads, num_ahead)) == []


def test_no_more_are_decoded_than_asked_for_and_some_ahead() -> None:
    begun: list[int] = []

    def note(path: Path) -> int:
        begun.append(int(path.name))
        return int(path.name)

    decoded = decode_ahead(note, PATHS, 2, 4)
    assert [next(decoded) for _ in range(3)] == [0, 1, 2]
    decoded.close()
    assert len(begun) <= 3 + 4


def test_other_errors_are_raised_where_they_are_asked_for() -> None:
    def fail(path: Path) -> int:
        if path.name == "5":
            raise KeyboardInterrupt
        return int(path.name)

    decoded = decode_ahead(fail, PATHS, 1, 8)
    assert [next(decoded) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(KeyboardInterrupt):
        next(decoded)
