"""From a name to a data set: shipped digits, the folder, a server on this machine, real copies."""

from __future__ import annotations

import gzip
import hashlib
import io
import socket
import struct
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from graphc import data
from graphc.data.fetch import fetch
from graphc.data.sources import SOURCES, File, Source
from graphc.data.store import read
from graphc.ir.errors import FormatError, GraphError


def test_the_shipped_digits() -> None:
    """What the set is known to be: MNIST's first digits, 28x28, dark ground."""
    train, test = data.load("mnist-mini", "train"), data.load("mnist-mini", "test")
    assert train.images.shape == (6000, 1, 28, 28)
    assert test.images.shape == (2000, 1, 28, 28)
    assert train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert train.classes == tuple("0123456789")
    assert np.bincount(train.labels).min() > 500
    assert 0.12 < train.arrays()[0].mean() < 0.14


def test_unknown_names() -> None:
    with pytest.raises(GraphError, match="'minst'; there are mnist-mini, mnist, fashion-mnist, ci"):
        data.load("minst", "train")
    with pytest.raises(GraphError, match="mnist-mini has no split 'valid'; it has train, test"):
        data.load("mnist-mini", "valid")


def test_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("GRAPHC_DATA", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert data.folder() == Path("/home/me/.cache/graphc")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # the specification: to be ignored
    assert data.folder() == Path("/home/me/.cache/graphc")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert data.folder() == Path("/cache/graphc")
    monkeypatch.setenv("GRAPHC_DATA", "~/sets")
    assert data.folder() == Path("/home/me/sets")


# A small set of each format, and a server for it.


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


PIXELS = bytes(range(24))
IDX = {
    "t-images-idx3-ubyte.gz": struct.pack(">BBBBIII", 0, 0, 8, 3, 2, 3, 4) + PIXELS,
    "t-labels-idx1-ubyte.gz": struct.pack(">BBBBI", 0, 0, 8, 1, 2) + b"\x01\x00",
}
BATCHES = {
    f"batch_{i}.bin": bytes([i]) + bytes([10 * i + c for c in range(3) for _ in range(1024)])
    for i in range(2)
}


def tar(contents: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in {"readme.html": b"hello", **contents}.items():
            member = tarfile.TarInfo(f"../batches-bin/{name}")  # a path that must choose nothing
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


ARCHIVE = tar(BATCHES)
FILES = {**{name: gzip.compress(content) for name, content in IDX.items()}, "all.tar.gz": ARCHIVE}

tiny_idx = Source(
    "tiny",
    ("no", "yes"),
    {"test": tuple(File(n, len(c), digest(c), gzip=True) for n, c in IDX.items())},
)
tiny_cifar = Source(
    "tinier",
    ("no", "yes"),
    {
        "train": (File("batch_0.bin", 3073, digest(BATCHES["batch_0.bin"])),),
        "test": (File("batch_1.bin", 3073, digest(BATCHES["batch_1.bin"])),),
    },
    archive=File("all.tar.gz", len(ARCHIVE), digest(ARCHIVE)),
)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, bytes]], str]]:
    """A function that serves files by name on this machine and gives the server's address."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    servers = []

    def start(files: dict[str, bytes]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = files.get(self.path.lstrip("/"))
                if content is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def closed_server() -> str:
    """An address at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/"


def test_fetched_idx(serve: Callable[..., str], tmp_path: Path) -> None:
    """The first server is down, the second lacks the file, the third has another, the fourth it."""
    other = {name: gzip.compress(b"x" * len(content)) for name, content in IDX.items()}
    servers = (closed_server(), serve({}), serve(other), serve(FILES))
    home = tmp_path / "deep" / "tiny"
    fetch(replace(tiny_idx, servers=servers), "test", home)
    assert sorted(path.name for path in home.iterdir()) == sorted(IDX)
    got = read(tiny_idx, "test", home)
    assert got.images.tobytes() == PIXELS
    assert got.images.shape == (2, 1, 3, 4)
    assert got.labels.tolist() == [1, 0]


def test_load_fetches_what_is_missing(
    serve: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = dict(FILES)
    source = replace(tiny_idx, servers=(serve(files),))
    monkeypatch.setitem(SOURCES, "tiny", source)
    monkeypatch.setenv("GRAPHC_DATA", str(tmp_path))
    assert data.load("tiny", "test").classes == ("no", "yes")
    files.clear()  # from now on the folder is all there is
    assert data.load("tiny", "test").labels.tolist() == [1, 0]
    (tmp_path / "tiny" / "t-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(GraphError, match="could not be fetched"):
        data.load("tiny", "test")


def test_fetched_archive(serve: Callable[..., str], tmp_path: Path) -> None:
    source = replace(tiny_cifar, servers=(serve(FILES),))
    home = tmp_path / "tinier"
    fetch(source, "test", home)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [*BATCHES, "tinier"]
    for i, split in enumerate(("train", "test")):  # the archive holds both
        got = read(source, split, home)
        assert got.labels.tolist() == [i]
        assert got.images.shape == (1, 3, 32, 32)
        assert got.images[0, :, 5, 6].tolist() == [10 * i, 10 * i + 1, 10 * i + 2]


def test_without_a_network(tmp_path: Path) -> None:
    home = tmp_path / "tiny"
    with pytest.raises(GraphError) as caught:
        fetch(replace(tiny_idx, servers=(closed_server(),)), "test", home)
    message = str(caught.value)
    assert not isinstance(caught.value, FormatError)
    for part in (str(home), "t-images-idx3-ubyte.gz", "GRAPHC_DATA", "refused", "http://127.0.0.1"):
        assert part in message
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (gzip.compress(bytes(1 << 20)), "unpacks to more than the 40 bytes"),
        (bytes(1 << 20), "sends more than the file should hold"),
        (b"<html>Sign in to the hotel's network</html>", "not a sound gzip file"),
        (b"", "ends early: 0 of 40 bytes"),
        (gzip.compress(b"x" * 40), "the SHA-256 of its content is"),
    ],
    ids=["bomb", "long", "html", "empty", "another"],
)
def test_a_server_that_sends_something_else(
    serve: Callable[..., str], tmp_path: Path, sent: bytes, message: str
) -> None:
    source = replace(tiny_idx, servers=(serve(dict.fromkeys(IDX, sent)),))
    with pytest.raises(FormatError, match=message):
        fetch(source, "test", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_archive_that_is_another(serve: Callable[..., str], tmp_path: Path) -> None:
    source = replace(tiny_cifar, servers=(serve({"all.tar.gz": tar({})}),))
    with pytest.raises(FormatError, match="does not hold all.tar.gz"):
        fetch(source, "test", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(serve: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(GraphError, match="set GRAPHC_DATA to a folder that can be written"):
        fetch(replace(tiny_idx, servers=(serve(FILES),)), "test", tmp_path / "file" / "tiny")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"ends early: 0 of 40 bytes; delete it and load again"),
        (b"\x1f\x8b" + bytes(100_000), "larger than t-images-idx3-ubyte.gz can be; delete"),
        (FILES["t-images-idx3-ubyte.gz"][:-9], "ends early"),
        (FILES["t-labels-idx1-ubyte.gz"], "ends early: 10 of 40"),
    ],
    ids=["empty", "long", "cut", "another"],  # gzip's bytes hold the time: no id for two workers
)
def test_damaged_files_are_named_and_kept(tmp_path: Path, content: bytes, message: str) -> None:
    for name, good in FILES.items():
        (tmp_path / name).write_bytes(good)
    path = tmp_path / "t-images-idx3-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=message) as caught:
        read(tiny_idx, "test", tmp_path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == content


def test_a_folder_in_a_files_place(tmp_path: Path) -> None:
    (tmp_path / "t-images-idx3-ubyte.gz").mkdir()
    with pytest.raises(GraphError, match="cannot be read"):
        read(tiny_idx, "test", tmp_path)


def test_the_table_is_whole() -> None:
    for source in SOURCES.values():
        assert set(source.splits) == {"train", "test"}
        assert len(source.classes) == 10
        assert source.servers or source.name == "mnist-mini"
        digests = [file.sha256 for files in source.splits.values() for file in files]
        assert len(set(digests)) == len(digests)
        assert all(len(each) == 64 and int(each, 16) for each in digests)


# Real copies, where this machine has them: `GRAPHC_DATA=folder pytest tests/data`. The means are
# those that are published for normalization, the counts those of the sets' own pages.
REAL = [
    ("mnist", "train", (60_000, 1, 28, 28), [0.1307], 5421),
    ("mnist", "test", (10_000, 1, 28, 28), None, 892),
    ("fashion-mnist", "train", (60_000, 1, 28, 28), [0.2860], 6000),
    ("fashion-mnist", "test", (10_000, 1, 28, 28), None, 1000),
    ("cifar-10", "train", (50_000, 3, 32, 32), [0.4914, 0.4822, 0.4465], 5000),
    ("cifar-10", "test", (10_000, 3, 32, 32), None, 1000),
]


@pytest.mark.parametrize(("name", "split", "shape", "means", "rarest"), REAL)
def test_real_copies(
    name: str, split: str, shape: tuple[int, ...], means: list[float] | None, rarest: int
) -> None:
    if not (data.folder() / name).is_dir():
        pytest.skip(f"no copy of {name} in {data.folder()}")
    got = data.load(name, split)
    assert got.images.shape == shape
    assert np.bincount(got.labels, minlength=10).min() == rarest
    if means:
        np.testing.assert_allclose(got.images.mean((0, 2, 3)) / 255, means, atol=1.5e-4)
    if name == "mnist":
        mini = data.load("mnist-mini", split)
        assert np.array_equal(got[: len(mini)].images, mini.images)
        assert np.array_equal(got[: len(mini)].labels, mini.labels)
