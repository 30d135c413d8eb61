"""A save that fails, is killed or is not alone leaves a whole file: the old one or the new."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphc.ir.errors import GraphError
from graphc.train import load, save


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return list(a) == list(b) and all(np.array_equal(a[name], b[name]) for name in a)


def inside(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.safetensors"


CALLS = ["open", "ftruncate", "fchmod", "write", "lseek", "fsync", "replace", "close"]
FAULTS = [errno.ENOSPC, errno.EIO, errno.EACCES, None]  # None: an interrupt


class Faults:
    """Counts the system calls of a save and lets the n-th fail, or writes cut short."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self.log: list[str] = []
        self.fail_at: int | None = None
        self.fault: int | None = None
        self.short = False
        for name in CALLS:
            patch.setattr(os, name, self._wrapped(name, getattr(os, name)))
        import fcntl

        patch.setattr(fcntl, "flock", self._wrapped("flock", fcntl.flock))
        self._folder = str(folder)

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if name == "open" and not str(args[0]).startswith(self._folder):
                return real(*args, **kwargs)
            self.log.append(name)
            if len(self.log) - 1 == self.fail_at:
                if name == "close":
                    real(*args)  # Linux frees the descriptor even where close reports an error
                if self.fault is None:
                    raise KeyboardInterrupt
                raise OSError(self.fault, os.strerror(self.fault))
            if name == "write" and self.short:
                return real(args[0], args[1][: max(1, len(args[1]) // 3)])
            return real(*args, **kwargs)

        return call

    @contextlib.contextmanager
    def at(self, index: int | None, fault: int | None) -> Iterator[None]:
        self.log.clear()
        self.fail_at, self.fault = index, fault
        try:
            yield
        finally:
            self.fail_at = None


@pytest.fixture
def faults(tmp_path: Path) -> Iterator[Faults]:
    with pytest.MonkeyPatch.context() as patch:
        yield Faults(patch, tmp_path)


OLD, NEW = {"w": np.zeros(5)}, {"w": np.ones(5), "v": np.arange(4)}


def test_the_order_that_survives_a_power_cut(path: Path, faults: Faults) -> None:
    """Content is durable before the name changes, the name before save returns."""
    save(path, OLD)
    with faults.at(None, None):
        save(path, NEW)
    log = [name for name in faults.log if name in ("write", "fsync", "replace")]
    writes = log.index("fsync")
    assert log == ["write"] * writes + ["fsync", "replace", "fsync"]
    assert writes >= 4


def test_each_call_fails_once(path: Path, faults: Faults) -> None:
    """Whatever call of a save fails: raised, and the file is the old one or (from the rename on)
    the new one, whole; the next save works and leaves nothing beside it."""
    save(path, OLD)
    with faults.at(None, None):
        save(path, NEW)
    calls = list(faults.log)
    rename = calls.index("replace")
    assert len(calls) > 12
    for index, name in enumerate(calls):
        for fault in FAULTS:
            save(path, OLD)
            expected = KeyboardInterrupt if fault is None else OSError
            with pytest.raises(expected), faults.at(index, fault):
                save(path, NEW)
            assert same(load(path)[0], OLD if index <= rename else NEW), (index, name)
            save(path, NEW)
            assert same(load(path)[0], NEW)
            assert inside(path.parent) == [path.name]


def test_each_call_of_a_first_save_fails_once(path: Path, faults: Faults) -> None:
    with faults.at(None, None):
        save(path, NEW)
    calls = list(faults.log)
    for index in range(len(calls)):
        path.unlink(missing_ok=True)
        with pytest.raises(OSError, match="No space left"), faults.at(index, errno.ENOSPC):
            save(path, NEW)
        if path.exists():
            assert same(load(path)[0], NEW)
            assert index > calls.index("replace")
        # Before its file is locked a save may not remove it: another one's could be meant.
        assert index <= calls.index("flock") or set(inside(path.parent)) <= {path.name}


def test_short_writes_are_completed(path: Path, faults: Faults) -> None:
    faults.short = True
    save(path, NEW)
    faults.short = False
    assert same(load(path)[0], NEW)


def test_a_full_disk(path: Path) -> None:
    """The real thing: a file may not grow past 4 KiB."""
    script = f"""
import resource, signal, numpy as np
from graphc.train import save
save({str(path)!r}, {{"w": np.zeros(5)}})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    save({str(path)!r}, {{"w": np.zeros(5000)}})
except OSError as error:
    print(error.strerror)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "File too large"
    assert same(load(path)[0], OLD)
    assert inside(path.parent) == [path.name]


def test_killed_savers(path: Path) -> None:
    """kill -9 at any moment: the file is whole and no older than what was reported."""
    script = f"""
import itertools, numpy as np
from graphc.train import load, save
begin = int(load({str(path)!r})[0]["step"])
for step in itertools.count(begin + 1):
    save({str(path)!r}, {{"w": np.full(100_000, step), "step": step}})
    print(step, flush=True)
"""
    save(path, {"w": np.zeros(100_000, np.int64), "step": 0})
    rng = random.Random(0)
    reported = 0
    for _ in range(8):
        with subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            for _ in range(rng.randint(1, 4)):
                reported = int(child.stdout.readline())
            threading.Event().wait(rng.random() * 0.005)
            child.send_signal(signal.SIGKILL)
            rest = child.stdout.read().split("\n")[:-1]
            reported = int(rest[-1]) if rest else reported
        got = load(path)[0]
        step = int(got["step"])
        assert reported <= step <= reported + 1
        assert (got["w"] == step).all()
    save(path, OLD)
    assert inside(path.parent) == [path.name]


def test_many_savers_of_one_file(path: Path) -> None:
    """Threads that save the same path at once, and one that reads: every file seen is whole."""
    save(path, {"w": np.zeros(50_000)})
    stop = threading.Event()
    seen: list[str] = []

    def keep_saving(value: float) -> None:
        while not stop.is_set():
            save(path, {"w": np.full(50_000, value)})

    threads = [threading.Thread(target=keep_saving, args=(float(i),)) for i in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(60):
        w = load(path)[0]["w"]
        seen.append("whole" if (w == w[0]).all() else "torn")
    stop.set()
    for thread in threads:
        thread.join()
    assert set(seen) == {"whole"}
    assert inside(path.parent) == [path.name]


def test_an_array_that_changes_meanwhile(path: Path) -> None:
    """The bytes summed are the bytes written: the file can be read whatever the values are."""
    w = np.zeros(3_000_000)
    stop = threading.Event()

    def keep_changing() -> None:
        while not stop.is_set():
            w[:] += 1

    thread = threading.Thread(target=keep_changing)
    thread.start()
    for _ in range(5):
        save(path, {"w": w})
        load(path)
    stop.set()
    thread.join()


def test_links_modes_and_devices(path: Path) -> None:
    link = path.with_name("latest")
    save(path, OLD)
    path.chmod(0o640)
    link.symlink_to(path.name)
    save(link, NEW)
    assert link.is_symlink()
    assert same(load(path)[0], NEW)
    assert path.stat().st_mode & 0o777 == 0o640
    fifo = path.with_name("fifo")
    os.mkfifo(fifo)
    for other in (path.parent, fifo):
        with pytest.raises(GraphError, match="is there and is not a file; save under another name"):
            save(other, NEW)
    assert fifo.is_fifo()
    path.with_name(".net.safetensors.part").symlink_to("elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        save(path, OLD)
    assert not path.with_name("elsewhere").exists()
    assert same(load(path)[0], NEW)
    with pytest.raises(FileNotFoundError):
        save(path.parent / "no" / "such" / "folder", NEW)
