"""Variables, and the graph they belong to, in one file that is whole or not there.

The file is safetensors: 8 bytes of header length (little endian), a JSON header, the tensors. The
header's ``__metadata__`` holds three strings of ours:

- ``graphc.format``: ``"1"``;
- ``graphc.ir``: the printed graph, where one was given;
- ``graphc.sha256``: the SHA-256 of **the whole file in which the 64 digits of this sum are zeros**.
  So it covers every byte, and ``sed`` and ``sha256sum`` can check it.

A file is read as if an enemy had written it: the header passes a strict reader of our own before
any array is made, and no more is ever allocated than the file is long. Stricter than the format: no
duplicate names (safetensors 0.8 takes the last), names of the IR's alphabet, rank at most 8, at
most 65,536 tensors and a header of at most 64 MiB (a ResNet-200 with Adam's state has about 2,000
tensors and half a megabyte of header; the rest is for graphs with large constants).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import stat
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphc.ir.errors import FormatError, GraphError

if TYPE_CHECKING:
    from graphc.ir import Graph

Array = npt.NDArray[Any]
PathLike = str | os.PathLike[str]

MAX_HEADER = 64 << 20
MAX_TENSORS = 65_536
MAX_RANK = 8
MAX_BYTES = 2**63 - 1  # what NumPy can count

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./@-]*")
_METADATA = "__metadata__"
_FORMAT, _IR, _SUM = "graphc.format", "graphc.ir", "graphc.sha256"
_ZEROS = "0" * 64
_CHUNK = 4 << 20

# safetensors' word for each dtype, by NumPy's.
_WORDS = {
    "bool": "BOOL",
    **{f"int{bits}": f"I{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"U{bits}" for bits in (8, 16, 32, 64)},
    **{f"float{bits}": f"F{bits}" for bits in (16, 32, 64)},
    "bfloat16": "BF16",
}
_NAMES = {word: name for name, word in _WORDS.items()}


def save(path: PathLike, variables: Mapping[str, Any], graph: Graph | None = None) -> None:
    """Write variables (name → array) and, where given, their graph to a safetensors file.

    Every dtype of graphc, scalars included; each array as it is, in its order. The file appears
    under its name whole or not at all, also through a power cut: whatever fails, a file that was
    there before stays as it was, and the failure is raised. The bytes that are summed are the bytes
    that are written, so a file is sound even if an array changes meanwhile.

    Raises GraphError for a variable that such a file cannot hold, OSError where writing fails.

    >>> import tempfile
    >>> import numpy as np
    >>> import graphc as gx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     gx.save(f"{folder}/net.safetensors", {"0.bias": np.arange(3), "step": np.int64(7)})
    ...     variables, graph = gx.load(f"{folder}/net.safetensors")
    >>> variables["0.bias"].tolist(), int(variables["step"]), graph
    ([0, 1, 2], 7, None)
    """
    if not isinstance(variables, Mapping):
        raise GraphError(
            f"variables are a {type(variables).__name__}, not a dict of name → array; "
            "call gx.save(path, variables, graph)"
        )
    arrays = {name: _host(name, value) for name, value in variables.items()}
    if len(arrays) > MAX_TENSORS:
        raise GraphError(f"{len(arrays)} variables; a file holds at most {MAX_TENSORS}")
    # Large elements first keeps each tensor on a multiple of its size, as the format asks.
    order = sorted(arrays, key=lambda name: -arrays[name].itemsize)
    header, at = _header(arrays, order, None if graph is None else str(graph))
    target = Path(os.path.realpath(path))  # a link stays a link: what it names is replaced
    with _replacing(target) as fd:
        digest = hashlib.sha256()
        _write(fd, header, digest)
        for name in order:
            data = _bytes_of(arrays[name])
            for start in range(0, len(data), _CHUNK):
                _write(fd, bytes(data[start : start + _CHUNK]), digest)
        os.lseek(fd, at, os.SEEK_SET)
        _write(fd, digest.hexdigest().encode(), None)


def load(path: PathLike, *, graph: Graph | None = None) -> tuple[dict[str, Array], Graph | None]:
    """Read what ``save`` wrote, or any plain safetensors file: (variables, graph or None).

    graph: whose variables they are to be. A tied weight has one name there, of its first path, and
    may stand in the file under any of its paths (``graph.aliases``), or under several, if they are
    equal; all of them come back as the same array.

    Arrays are new, writable NumPy arrays, in the file's order; the further names of a tied weight,
    which safetensors' ``save_model`` keeps beside the first, are the same array. Nothing is
    returned unless the sum over the whole file is right; a file without one is read with a warning
    (UserWarning). Raises FormatError for a file that is damaged or not of this format, or whose
    values of one tied weight differ, OSError for one that cannot be read. Example: ``save``.
    """
    path = Path(path)
    arrays, found = _load(path)
    return (arrays if graph is None else _under_one_name(path, arrays, graph)), found


def _under_one_name(path: Path, arrays: dict[str, Array], graph: Graph) -> dict[str, Array]:
    """The arrays with those of a tied weight joined. Raises FormatError where they differ."""
    joined = dict(arrays)
    stands: dict[str, str] = {name: name for name in arrays}  # name to the path it was read under
    for other, name in graph.aliases.items():
        if other not in arrays:
            continue
        first = joined.setdefault(name, arrays[other])
        place = stands.setdefault(name, other)
        mine = arrays[other]
        same = (first.dtype, first.shape) == (mine.dtype, mine.shape)
        if not (same and first.tobytes() == mine.tobytes()):
            how = "" if same else f": {_described(first)} and {_described(mine)}"
            raise FormatError(
                f"{path} has two values of one tied weight, {place!r} and {other!r}{how}. They are "
                f"one parameter of the graph, {name!r}: leave one of them out of the file, or "
                "build the net with two"
            )
        joined[other] = first
    return joined


def _described(array: Array) -> str:
    return f"{array.dtype.name}{list(array.shape)}"


def _load(path: Path) -> tuple[dict[str, Array], Graph | None]:
    # Opening a pipe would wait for its writer.
    if not stat.S_ISREG(path.stat().st_mode):
        raise FormatError(f"{path} is not a file that can be loaded: not a regular file")
    with path.open("rb", buffering=0) as stream:
        raw = _read_header(path, stream)
        header = _parse_header(path, raw[8:], os.fstat(stream.fileno()).st_size - len(raw))
        digest = hashlib.sha256(_without_sum(path, raw, header.metadata))
        arrays: dict[str, Array] = dict.fromkeys(header.tensors, np.empty(0))
        for name, tensor in sorted(header.tensors.items(), key=lambda item: item[1].span):
            array = np.empty(tensor.shape, _dtype(tensor.dtype))
            _read_into(path, stream, _bytes_of(array), digest)
            if tensor.dtype == "bool" and array.view(np.uint8).max(initial=0) > 1:
                raise FormatError(f"{path}: tensor {name!r} is bool and holds other than 0 and 1")
            arrays[name] = array.byteswap() if sys.byteorder == "big" else array
    if _SUM not in header.metadata:
        warnings.warn(
            f"{path} has no {_SUM}, so damage to it could not be seen; gx.save writes one",
            UserWarning,
            stacklevel=3,
        )
        return arrays | _tied(arrays, header.metadata), None
    if digest.hexdigest() != header.metadata[_SUM]:
        raise FormatError(
            f"{path} is damaged, or was changed by something other than gx.save: its SHA-256 is "
            f"{digest.hexdigest()}, its header says {header.metadata[_SUM]}; use an older file"
        )
    if header.metadata[_FORMAT] != "1":
        raise FormatError(
            f"{path} has format {header.metadata[_FORMAT]!r}, this graphc reads 1: "
            "a newer graphc wrote it, and can read it"
        )
    if _IR not in header.metadata:
        return arrays, None
    from graphc.ir import parse

    return arrays, parse(header.metadata[_IR])


def _tied(arrays: dict[str, Array], metadata: dict[str, str]) -> dict[str, Array]:
    """The other names of shared tensors: ``save_model`` of safetensors.torch stores each once, and
    in the metadata {name left out: name it is stored under}."""
    return {
        name: arrays[stored]
        for name, stored in metadata.items()
        if stored in arrays and name not in arrays and _NAME.fullmatch(name)
    }


# Writing.


def _host(name: object, value: Any) -> Array:
    """A variable as a native, contiguous array on the host, once a file can hold it."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name == _METADATA:
        raise GraphError(
            f"{name!r} cannot name a variable: names are letters, digits and _ . / @ -, and begin "
            "with a letter, a digit or _"
        )
    if hasattr(value, "__cuda_array_interface__"):
        value = value.get()
    array = np.asarray(value)
    if array.dtype.name not in _WORDS:
        raise GraphError(
            f"variable {name!r} is {array.dtype}, which a file cannot hold; there are "
            f"{', '.join(_WORDS)}"
        )
    if array.ndim > MAX_RANK:
        raise GraphError(f"variable {name!r} has {array.ndim} dimensions, more than {MAX_RANK}")
    # Only NumPy's own dtypes have another byte order; ml_dtypes' refuse to be asked for one.
    native = array.dtype if array.dtype.isnative else array.dtype.newbyteorder("=")
    array = np.asarray(array, native, order="C")
    return array.byteswap() if sys.byteorder == "big" else array


def _header(arrays: dict[str, Array], order: list[str], ir: str | None) -> tuple[bytes, int]:
    """The file's beginning, with zeros for the sum, and where in the file the sum goes."""
    metadata = {_FORMAT: "1", _SUM: _ZEROS, **({} if ir is None else {_IR: ir})}
    end, spans = 0, {}
    for name in order:
        spans[name] = (end, end + arrays[name].nbytes)
        end = spans[name][1]
    tensors = {
        name: {
            "dtype": _WORDS[array.dtype.name],
            "shape": array.shape,
            "data_offsets": spans[name],
        }
        for name, array in arrays.items()
    }
    text = json.dumps({_METADATA: metadata, **tensors}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise GraphError(
            f"names and graph take {len(text)} bytes, a file's header holds {MAX_HEADER}; "
            "keep large constants as parameters, or save without the graph"
        )
    return len(text).to_bytes(8, "little") + text, 8 + text.index(_field(_ZEROS)) + len(_field(""))


def _field(digits: str) -> bytes:
    """How the sum stands in a header of ours, less its last quote.

    Nothing else there reads like it: inside a string its quotes would be escaped.
    """
    return f'"{_SUM}":"{digits}'.encode()


def _write(fd: int, data: bytes, digest: hashlib._Hash | None) -> None:
    if digest is not None:
        digest.update(data)
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


@contextlib.contextmanager
def _replacing(target: Path) -> Iterator[int]:
    """A descriptor to write to; when the block ends well, its file is ``target``, durably.

    Content before name (fsync, then rename), name before success (fsync of the folder): in any
    other order a power cut can leave an empty file or lose one that was reported. The passing name
    is one per target, so what a killed process left is taken over by the next save; the lock keeps
    two savers of one target apart.
    """
    mode = None
    with contextlib.suppress(FileNotFoundError):
        mode = target.stat().st_mode
        if not stat.S_ISREG(mode):  # a rename would put a file in place of /dev/null
            raise GraphError(f"{target} is there and is not a file; save under another name")
    part = target.with_name(f".{target.name}.part")
    fd = _open_locked(part)
    try:
        os.ftruncate(fd, 0)
        if mode is not None and sys.platform != "win32":
            os.fchmod(fd, stat.S_IMODE(mode))
        yield fd
        os.fsync(fd)
        if sys.platform == "win32":  # which renames no open file
            os.close(fd)
            fd = -1
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    finally:
        if fd >= 0:
            os.close(fd)
    if sys.platform != "win32":
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _open_locked(part: Path) -> int:
    """``part``, open, ours alone, and still under its name."""
    if sys.platform == "win32":
        return os.open(part, os.O_RDWR | os.O_CREAT | os.O_BINARY, 0o666)
    import fcntl

    while True:
        fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            # While we waited, another saver may have renamed the file we hold.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(fd), part.stat()):
                    return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


# Reading.


@dataclass(frozen=True)
class _Tensor:
    dtype: str
    shape: tuple[int, ...]
    span: tuple[int, int]


@dataclass(frozen=True)
class _Header:
    metadata: dict[str, str]
    tensors: dict[str, _Tensor]


def _read_header(path: Path, stream: FileIO) -> bytes:
    """The length and the header, as they stand."""
    size = os.fstat(stream.fileno()).st_size
    length = int.from_bytes(_read(path, stream, 8), "little")
    if not 2 <= length <= min(MAX_HEADER, size - 8):
        raise FormatError(
            f"{path} is not a safetensors file, or cut short: its first 8 bytes give a header of "
            f"{length} bytes, the file has {size} and a header at most {MAX_HEADER}"
        )
    return length.to_bytes(8, "little") + _read(path, stream, length)


def _read(path: Path, stream: FileIO, count: int) -> bytes:
    data = bytearray(count)
    _read_into(path, stream, memoryview(data), None)
    return bytes(data)


def _read_into(path: Path, stream: FileIO, data: memoryview, digest: hashlib._Hash | None) -> None:
    at = 0
    while at < len(data):
        got = stream.readinto(data[at : at + _CHUNK])
        if not got:
            raise FormatError(f"{path} is cut short: {len(data) - at} bytes are missing")
        if digest is not None:
            digest.update(data[at : at + got])
        at += got


# The grammar of a header. It is matched first, so that json.loads can be made to build nothing
# large: no deeper nesting, no longer list or number, no more entries than here. Every repeat is
# possessive, so that matching takes linear time and hardly any memory, whatever the header holds.
_W = r"[ \t\n\r]*+"
_STRING = rf'"[^"\\]*+(?:\\.[^"\\]*+)*+"{_W}'
_NUMBER = r"\d{1,19}+" + _W


def _listed(begin: str, item: str, end: str, most: int) -> str:
    return rf"{begin}{_W}(?:{item}(?:,{_W}{item}){{0,{most - 1}}}+)?+{end}{_W}"


_SIZES = _listed(r"\[", _NUMBER, r"\]", MAX_RANK)
_FIELDS = _listed(r"\{", rf"{_STRING}:{_W}(?:{_STRING}|{_SIZES})", r"\}", 3)
_NOTES = _listed(r"\{", rf"{_STRING}:{_W}{_STRING}", r"\}", 1024)
_ENTRY = rf'(?:"{_METADATA}"{_W}:{_W}{_NOTES}|{_STRING}:{_W}{_FIELDS})'
_HEADER = re.compile(_listed(r"\{", _ENTRY, r"\}", MAX_TENSORS + 1).encode(), re.DOTALL)


def _parse_header(path: Path, raw: bytes, available: int) -> _Header:
    """What a header says, once it describes exactly the ``available`` bytes after it."""
    if not _HEADER.fullmatch(raw):
        raise FormatError(
            f"{path} is damaged: its header is not one of safetensors', or has more than "
            f"{MAX_TENSORS} tensors or {MAX_RANK} sizes in a shape"
        )
    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is damaged: its header is not JSON ({error})") from None
    metadata = header.pop(_METADATA, {})
    if not all(isinstance(value, str) for value in metadata.values()):
        raise FormatError(f"{path}: {_METADATA} holds something other than strings")
    if len(header) > MAX_TENSORS:
        raise FormatError(f"{path} has more than {MAX_TENSORS} tensors")
    tensors = {name: _tensor(path, name, entry) for name, entry in header.items()}
    _check_cover(path, tensors, available)
    return _Header(metadata, tensors)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice")
    return found


def _tensor(path: Path, name: str, entry: dict[str, Any]) -> _Tensor:
    """One tensor's entry, once it is one."""
    if not _NAME.fullmatch(name):
        raise FormatError(f"{path}: {name[:80]!r} cannot name a tensor in graphc")
    dtype, shape, span = (entry.get(key) for key in ("dtype", "shape", "data_offsets"))
    if len(entry) != 3 or not isinstance(shape, list) or not isinstance(span, list):
        raise FormatError(f"{path}: tensor {name!r} is not a dtype, a shape and two offsets")
    if not isinstance(dtype, str) or dtype not in _NAMES:
        raise FormatError(
            f"{path}: tensor {name!r} has dtype {str(dtype)[:20]!r}; graphc has {', '.join(_NAMES)}"
        )
    if len(span) != 2:
        raise FormatError(f"{path}: tensor {name!r} has {len(span)} offsets, not 2")
    itemsize = _dtype(_NAMES[dtype]).itemsize
    # A zero must not hide sizes whose product NumPy cannot hold.
    if itemsize * math.prod(size for size in shape if size) > MAX_BYTES:
        raise FormatError(f"{path}: tensor {name!r} has the impossible shape {shape}")
    if span[1] - span[0] != itemsize * math.prod(shape):
        raise FormatError(
            f"{path}: tensor {name!r} of {itemsize}-byte elements {shape} cannot fill the bytes "
            f"{span[0]} to {span[1]}"
        )
    return _Tensor(_NAMES[dtype], tuple(shape), (span[0], span[1]))


def _check_cover(path: Path, tensors: dict[str, _Tensor], available: int) -> None:
    """The tensors fill the file from the header to its end: no hole, no overlap, nothing after."""
    end = 0
    for start, stop in sorted(tensor.span for tensor in tensors.values()):
        if start != end:
            raise FormatError(f"{path} is damaged: a tensor begins at byte {start}, not at {end}")
        end = stop
    if end != available:
        raise FormatError(
            f"{path} is damaged or cut short: {available} bytes follow its header, not {end}"
        )


def _without_sum(path: Path, raw: bytes, metadata: dict[str, str]) -> bytes:
    """The file's beginning with zeros for the sum, as it was summed."""
    ours = {key for key in metadata if key.startswith("graphc.")}
    if not ours:
        return raw
    # One flipped bit must not turn a file with a sum into one without.
    if not {_FORMAT, _SUM} <= ours <= {_FORMAT, _SUM, _IR}:
        raise FormatError(f"{path} is damaged: its metadata has {', '.join(sorted(ours))[:200]}")
    field = _field(metadata[_SUM])
    if not re.fullmatch("[0-9a-f]{64}", metadata[_SUM]) or raw.count(field) != 1:
        raise FormatError(f"{path} is damaged, or was rewritten by another tool: its sum is no sum")
    return raw.replace(field, _field(_ZEROS))


def _dtype(name: str) -> np.dtype[Any]:
    if name == "bfloat16":
        import ml_dtypes

        bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return bfloat16
    return np.dtype(name)


def _bytes_of(array: Array) -> memoryview:
    """A contiguous array's own bytes; of a scalar too, and of dtypes that have no buffer."""
    return array.reshape(-1).view(np.uint8).data
