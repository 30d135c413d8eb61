"""IDX, the format of MNIST, and gzip, both read as if an enemy had written them.

An IDX file is ``00 00 type ndim``, then ndim big-endian 32-bit sizes, then the elements, big-endian
and row-major (LeCun, Cortes, Burges, "The MNIST database", section "File formats").
"""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.ir.errors import FormatError

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_RANK = 8
_GZIP = 16 + zlib.MAX_WBITS  # zlib's word for "a gzip header and trailer, CRC checked"


def gunzip(packed: bytes, size: int, what: str) -> bytes:
    """The content of one gzip member, which must be exactly ``size`` bytes.

    Never makes more than ``size`` + 1 bytes, whatever the file asks for. ``what`` names the file in
    errors. Raises FormatError.

    >>> import gzip
    >>> gunzip(gzip.compress(b"digits"), 6, "digits.gz")
    b'digits'
    """
    stream = zlib.decompressobj(_GZIP)
    try:
        content = stream.decompress(packed, size + 1)
    except zlib.error as error:
        raise FormatError(f"{what} is not a sound gzip file ({error})") from None
    # Where the content fits exactly, zlib may have stopped before the trailer.
    if len(content) == size and not stream.eof:
        try:
            content += stream.decompress(stream.unconsumed_tail, 1)
        except zlib.error as error:
            raise FormatError(f"{what} is not a sound gzip file ({error})") from None
    if len(content) > size:
        raise FormatError(f"{what} unpacks to more than the {size} bytes that it should hold")
    if not stream.eof or len(content) < size:
        raise FormatError(f"{what} ends early: {len(content)} of {size} bytes")
    if stream.unused_data:
        raise FormatError(f"{what} has {len(stream.unused_data)} bytes after its gzip data")
    return content


def parse_idx(content: bytes, what: str) -> npt.NDArray[Any]:
    """The array in an IDX file's bytes, in the machine's byte order; of bytes, a read-only view.

    Every size is checked against the bytes that are there before an array is made. ``what`` names
    the file in errors. Raises FormatError.

    >>> parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9]), "three.idx")
    array([7, 8, 9], dtype=uint8)
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _DTYPES:
        raise FormatError(
            f"{what} is not an IDX file: it begins with {content[:4].hex(' ') or 'nothing'}, "
            "not with 00 00, a type (08 09 0b 0c 0d 0e) and a rank"
        )
    dtype, rank = np.dtype(_DTYPES[content[2]]), content[3]
    start = 4 + 4 * rank
    if rank > _MAX_RANK or len(content) < start:
        raise FormatError(
            f"{what} says it has {rank} dimensions; its header holds at most {_MAX_RANK}, "
            f"and {len(content)} bytes are there"
        )
    shape = tuple(int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4))
    expected = math.prod(shape) * dtype.itemsize  # Python integers: no overflow to hide in
    if expected != len(content) - start:
        raise FormatError(
            f"{what} says it holds {dtype.name}{list(shape)}, that is {expected} bytes, "
            f"but {len(content) - start} follow its header"
        )
    try:
        array: npt.NDArray[Any] = np.ndarray(shape, dtype, content, start)
    except ValueError as error:  # a zero beside sizes whose product NumPy cannot hold
        raise FormatError(f"{what} has the impossible shape {list(shape)}: {error}") from None
    return array.astype(dtype.newbyteorder("="), copy=False)
