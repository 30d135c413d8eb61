"""IDX and gzip against struct, gzip and NumPy; and against files made to do harm."""

from __future__ import annotations

import contextlib
import gzip
import random
import struct
import tracemalloc
import zlib

import numpy as np
import pytest

from graphc.data.idx import gunzip, parse_idx
from graphc.ir.errors import FormatError

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx(array: np.ndarray) -> bytes:
    """IDX bytes written with struct, from the format's description."""
    code = CODES[array.dtype.str[1:]]
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3), (3, 4, 5), (2, 0, 3)])
def test_arrays_come_back(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    got = parse_idx(idx(array), "it")
    assert got.dtype == array.dtype
    assert got.dtype.isnative
    assert got.shape == shape
    assert np.array_equal(got, array)


HARMFUL = {
    "nothing": b"",
    "a short magic": b"\0\0\x08",
    "another format": b"\x89PNG\r\n\x1a\n",
    "no such type": b"\0\0\x0a\x01\0\0\0\0",
    "a header cut short": b"\0\0\x08\x03\0\0\0\x01",
    "rank 255": b"\0\0\x08\xff" + b"\0\0\0\x01" * 255 + b"x",
    "one byte too few": b"\0\0\x08\x01\0\0\0\x03ab",
    "one byte too many": b"\0\0\x08\x01\0\0\0\x03abcd",
    "2**96 elements": b"\0\0\x08\x03" + b"\xff\xff\xff\xff" * 3,
    "a product that is 0 in 64 bits": b"\0\0\x0e\x03" + b"\x80\0\0\0" * 2 + b"\0\0\0\x04",
    "a zero beside what NumPy cannot hold": b"\0\0\x08\x04\0\0\0\0" + b"\xff\xff\xff\xff" * 3,
}


@pytest.mark.parametrize("content", HARMFUL.values(), ids=HARMFUL)
def test_harmful_idx_is_refused(content: bytes) -> None:
    with pytest.raises(FormatError, match="evil"):
        parse_idx(content, "evil.idx")


def test_gunzip_is_gzip() -> None:
    for content in (b"", b"x", random.Random(0).randbytes(70_000), b"a" * 1_000_000):
        assert gunzip(gzip.compress(content), len(content), "it") == content
        assert gunzip(gzip.compress(content, 0), len(content), "it") == content


def test_a_bomb_costs_no_memory() -> None:
    bomb = gzip.compress(b"\0" * (64 << 20))
    tracemalloc.start()
    with pytest.raises(FormatError, match=r"evil.gz unpacks to more than the 1000 bytes"):
        gunzip(bomb, 1000, "evil.gz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_damaged_gzip_is_refused() -> None:
    content = random.Random(1).randbytes(300)
    packed = gzip.compress(content)
    for length in range(len(packed)):
        with pytest.raises(FormatError, match="evil"):
            gunzip(packed[:length], len(content), "evil")
    for harmful in (
        packed + b"x",
        packed + packed,
        zlib.compress(content),
        packed[:-8] + bytes(4) + packed[-4:],  # another CRC
        content,
    ):
        with pytest.raises(FormatError, match="evil"):
            gunzip(harmful, len(content), "evil")
    for size in (0, len(content) - 1, len(content) + 1):
        with pytest.raises(FormatError, match="evil"):
            gunzip(packed, size, "evil")


def test_every_flipped_bit_is_refused_or_harmless() -> None:
    """Mutants of a whole file: our error or, where gzip does not look, the same content."""
    content = idx(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
    packed = gzip.compress(content)
    for bit in range(8 * len(packed)):
        mutant = bytearray(packed)
        mutant[bit // 8] ^= 1 << bit % 8
        with contextlib.suppress(FormatError):
            assert gunzip(bytes(mutant), len(content), "it") == content
    for bit in range(8 * len(content)):
        mutant = bytearray(content)
        mutant[bit // 8] ^= 1 << bit % 8
        try:
            parse_idx(bytes(mutant), "it")
        except FormatError:
            assert bit < 8 * 16  # the header: type, rank, sizes
