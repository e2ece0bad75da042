"""Damaged files of every format: a share of tests/tools/fuzz_files.py, and that script itself."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import fuzz_files
import lamina.core as mx
import numpy as np
import pytest

COUNT = 100 if "LAMINA_SANITIZED" in os.environ else 600


@pytest.mark.parametrize("kind", fuzz_files.FORMATS)
def test_damaged_files_are_read_or_refused(kind: str, tmp_path: Path) -> None:
    files = fuzz_files.FILES[kind]()
    verdicts = []
    for number in range(COUNT):
        data = fuzz_files.damaged(kind, 1, number, files)
        verdict = fuzz_files.outcome(kind, data, tmp_path / f"damaged.{kind}", number % 2 == 0)
        assert verdict in ("read", "refused"), f"{kind} {number}: {verdict}"
        verdicts.append(verdict)
    # Damage that is always seen, or never, tries nothing behind the first check.
    assert 0.02 * COUNT < verdicts.count("read") < 0.7 * COUNT


@pytest.mark.parametrize("kind", fuzz_files.FORMATS)
def test_whole_files_are_read(kind: str, tmp_path: Path) -> None:
    for data in fuzz_files.FILES[kind]():
        packed = kind == "npz" and zipfile.ZipFile(io.BytesIO(data)).infolist()[0].compress_type
        want = "refused" if packed == zipfile.ZIP_LZMA else "read"
        for by_path in (True, False):
            assert fuzz_files.outcome(kind, data, tmp_path / f"damaged.{kind}", by_path) == want


WORKER = """
import os, sys
sys.path.insert(0, {folder!r})
import fuzz_files
seen = fuzz_files.outcome

def outcome(kind, data, path, by_path):
    number = next(numbers)
    if number == 3:
        os.abort()
    return "KeyError: 3" if number == 7 else seen(kind, data, path, by_path)

numbers = iter(range(int(sys.argv[sys.argv.index("--first") + 1]), 100))
fuzz_files.outcome = outcome
fuzz_files.main()
"""


def test_what_goes_wrong_is_counted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "worker.py"
    script.write_text(WORKER.format(folder=str(Path(fuzz_files.__file__).parent)))
    totals = fuzz_files.examine("npy", 0, 0, 10, str(script))
    assert totals["crashed"] == totals["wrong"] == 1
    assert totals["read"] + totals["refused"] == 8
    shown = capfd.readouterr().out
    assert "npy 3: the process ended with -6" in shown
    assert "npy 7: KeyError: 3" in shown


def test_verdicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.npy"

    def verdict(load: object) -> str:
        monkeypatch.setattr(mx, "load", load)
        return fuzz_files.outcome("npy", b"", path, True)

    def fails(error: Exception) -> object:
        def load(*args: object, **kwargs: object) -> object:
            raise error

        return load

    assert verdict(fails(mx.FileError("load: x.npy: bad"))) == "refused"
    assert "does not name the file" in verdict(fails(mx.FileError("bad")))
    assert verdict(fails(ValueError("x.npy"))) == "ValueError: x.npy"
    assert verdict(lambda *_args, **_kwargs: mx.ones((2,))) == "read"
    assert "bytes of memory" in verdict(lambda *_args, **_kwargs: mx.ones((20_000_000,)) + 1)


# --- what it found --------------------------------------------------------------------------------


def archive(pack: int = zipfile.ZIP_STORED) -> bytearray:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", pack) as z:
        body = io.BytesIO()
        np.save(body, np.arange(3))
        z.writestr("a.npy", body.getvalue())
    return bytearray(out.getvalue())


def refused(data: bytes | bytearray) -> str:
    with pytest.raises(mx.FileError) as e:
        mx.load(io.BytesIO(bytes(data)), format="npz")
    return str(e.value)


def test_archives_are_file_errors() -> None:
    """zipfile raises a dozen classes of its own and of others."""
    assert "not a zip file" in refused(b"garbage")
    data = archive()
    assert "'file': negative seek value" in refused(data[:-6] + b"\xff\xff" + data[-4:])


def test_archives_are_stored_or_deflated(tmp_path: Path) -> None:
    """The head of an LZMA member says how many gigabytes unpacking it takes."""
    assert "'a.npy' is packed by method 14" in refused(archive(zipfile.ZIP_LZMA))
    (tmp_path / "x.npz").write_bytes(archive(zipfile.ZIP_DEFLATED))
    assert mx.load(tmp_path / "x.npz")["a"].tolist() == [0, 1, 2]


def test_a_member_is_no_larger_than_the_file() -> None:
    data = archive()
    central = data.index(b"PK\x01\x02")
    data[central + 20 : central + 28] = b"\xf0\xff\xff\x7f" * 2
    assert "'a.npy' is larger than the file" in refused(data)


def test_errors_do_not_quote_the_file() -> None:
    data = archive()
    data[26:28] = b"\x00\xff"  # the name is as long as what follows
    assert len(refused(data)) < 300
