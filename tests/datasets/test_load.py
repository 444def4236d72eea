"""Loading, digests and the stream of model inputs."""

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from unremarkable.datasets.case import Case
from unremarkable.datasets.load import digest, load_case, stream
from unremarkable.datasets.parallel import map_in_order, with_progress
from unremarkable.errors import InputError
from unremarkable.imaging.preprocess import Preprocess

Tree = Callable[[list[str]], Path]
SMALL = Preprocess(size=(16, 16), intensity="dtype")


def test_digest_is_of_the_bytes(make_tree: Tree) -> None:
    root = make_tree(["a.png"])
    assert digest(Case(str(root / "a.png"))) == hashlib.sha256((root / "a.png").read_bytes()).hexdigest()
    with pytest.raises(InputError, match="no such file"):
        digest(Case(str(root / "b.png")))


def test_digest_of_a_folder_leaves_names_out(make_tree: Tree) -> None:
    root = make_tree(["s1/a.png", "s2/b.png"])
    (root / "s3").mkdir()
    (root / "s3" / "other.png").write_bytes((root / "s1" / "a.png").read_bytes())
    digests = [digest(Case(str(root / name))) for name in ("s1", "s2", "s3")]
    assert digests[0] == digests[2] != digests[1]


@pytest.mark.parametrize("workers", [1, 3])
def test_stream_keeps_order_and_records_failures(make_tree: Tree, workers: int) -> None:
    root = make_tree(["a.png", "b.txt", "c.png"])
    cases = [Case(str(root / name)) for name in ("a.png", "b.txt", "gone.png", "c.png")]
    got = list(stream(cases, SMALL, workers=workers))
    assert [case for case, _, _ in got] == cases
    assert [isinstance(inputs, InputError) for _, _, inputs in got] == [False, True, True, False]
    case, image, inputs = got[3]
    assert image is not None
    assert isinstance(inputs, np.ndarray)
    np.testing.assert_array_equal(inputs, SMALL(load_case(case)))


def test_a_bug_in_a_decoder_is_one_failure(make_tree: Tree) -> None:
    root = make_tree(["a.png", "b.png"])

    def loader(case: Case) -> object:
        if case.path.endswith("a.png"):
            raise KeyError("strange")
        return load_case(case)

    got = list(stream([Case(str(root / n)) for n in ("a.png", "b.png")], SMALL, loader=loader))  # type: ignore[arg-type]
    assert isinstance(got[0][2], InputError)
    assert "unexpected KeyError" in got[0][2].reason
    assert isinstance(got[1][2], np.ndarray)


def test_map_in_order_runs_ahead_only_so_far_and_stops_when_closed() -> None:
    begun: list[int] = []
    lock = threading.Lock()

    def work(item: int) -> int:
        with lock:
            begun.append(item)
        return item * item

    results = map_in_order(work, range(1000), workers=2)
    assert [next(results) for _ in range(10)] == [i * i for i in range(10)]
    results.close()  # type: ignore[attr-defined]
    assert len(begun) <= 14
    assert list(map_in_order(work, [], workers=2)) == []


def test_map_in_order_passes_exceptions_on() -> None:
    with pytest.raises(ZeroDivisionError):
        list(map_in_order(lambda x: 1 // x, [1, 0, 1], workers=2))


def test_progress_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(with_progress(range(3), 3, "Counting", True)) == [0, 1, 2]
    assert capsys.readouterr().out == ""
