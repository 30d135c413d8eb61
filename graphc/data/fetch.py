"""From the official servers into the user's folder, whole or not at all."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from graphc.data.sources import PACKED_SLACK, File, Source
from graphc.ir.errors import FormatError, GraphError

_TIMEOUT = 30.0  # seconds without a byte before a server counts as silent


def fetch(source: Source, split: str, home: Path) -> None:
    """Bring the missing files of a split into ``home`` from the source's servers.

    A file appears under its name only once it is whole and its digest is right. Raises GraphError
    where no server could be reached or ``home`` cannot be written, FormatError where a server sent
    something else.
    """
    missing = [file for file in source.splits[split] if not (home / file.name).exists()]
    wanted = [source.archive] if source.archive else missing
    sys.stderr.write(f"graphc: fetching {', '.join(file.name for file in wanted)} into {home}\n")
    try:
        home.mkdir(parents=True, exist_ok=True)
        # Inside home, so that a rename is one step; our own, so that two may fetch at once.
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=home) as scratch:
            for file in wanted:
                part = Path(scratch) / file.name
                _download(source, file, part)
                if source.archive:
                    _unpack(source, part, home)
                else:
                    part.replace(home / file.name)
    except OSError as error:
        raise GraphError(
            f"{source.name} cannot be stored in {home}: {error}; "
            "set GRAPHC_DATA to a folder that can be written"
        ) from error


def _download(source: Source, file: File, part: Path) -> None:
    """A checked copy of a file from the first server that has it."""
    failures: list[tuple[str, GraphError]] = []
    for server in source.servers:
        try:
            _transfer(server + file.name, file.size + PACKED_SLACK, part)
            file.read(part)
            return
        except GraphError as error:
            failures.append((server, error))
    tried = "".join(f"\n  {server}{file.name}: {error.message}" for server, error in failures)
    wanted = ", ".join(each.name for files in source.splits.values() for each in files)
    # A server that sent something else says more than one that could not be reached.
    damaged = any(isinstance(error, FormatError) for _, error in failures)
    raise (FormatError if damaged else GraphError)(
        f"{source.name} is not in {part.parent.parent} and could not be fetched:{tried}\n"
        f"Without a network, bring its official files there by hand ({wanted}), "
        f"or set GRAPHC_DATA to a folder whose {source.name}/ holds them."
    )


def _transfer(url: str, limit: int, part: Path) -> None:
    """Copy at most ``limit`` bytes of a URL into a file; GraphError says what went wrong."""
    import http.client
    import urllib.error
    import urllib.request

    try:
        request = urllib.request.Request(url, headers={"User-Agent": "graphc"})
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
            chunks = iter(lambda: answer.read(1 << 20), b"")
            with part.open("wb") as out:
                for chunk in chunks:
                    limit -= len(chunk)
                    if limit < 0:
                        raise FormatError("the server sends more than the file should hold")
                    out.write(chunk)
    except urllib.error.HTTPError as error:
        error.close()  # it is the server's answer as well
        raise GraphError(str(error)) from error
    except (OSError, http.client.HTTPException) as error:
        raise GraphError(str(error) or type(error).__name__) from error


def _unpack(source: Source, archive: Path, home: Path) -> None:
    """Take the known files out of a checked tar archive; its names choose no path of ours."""
    import tarfile

    files = {file.name: file for split in source.splits.values() for file in split}
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            file = files.pop(member.name.rpartition("/")[2], None)
            stream = tar.extractfile(member) if file else None
            if file is None or stream is None:
                continue
            part = archive.with_name(file.name)
            part.write_bytes(stream.read(file.size + 1))
            file.read(part)
            part.replace(home / file.name)
    if files:
        raise FormatError(f"the archive of {source.name} lacks {', '.join(files)}")
