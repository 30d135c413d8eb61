"""The table of data sets: their files, sizes, digests and servers.

Every file is known by its name, its exact size and the SHA-256 of its content *unpacked*, because a
gzip file's own bytes differ between mirrors.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from graphc.data.idx import gunzip
from graphc.ir.errors import FormatError, GraphError

_DIGITS = tuple("0123456789")
_GARMENTS = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
_OBJECTS = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
PACKED_SLACK = 1 << 16  # a gzip file may be this much larger than its content


@dataclass(frozen=True)
class File:
    """One file of a source. ``size`` and ``sha256`` are its content's: of a ``gzip``, unpacked."""

    name: str
    size: int
    sha256: str
    gzip: bool = False

    def read(self, path: Path) -> bytes:
        """The content of the copy at ``path``, unpacked, once its size and digest are right.

        Reads and unpacks no more than the file can rightly hold. Raises GraphError where there is
        nothing to read, FormatError where it is not this file.
        """
        limit = self.size + (PACKED_SLACK if self.gzip else 0)
        try:
            with path.open("rb") as stream:
                raw = stream.read(limit + 1)
        except OSError as error:
            raise GraphError(f"{path} cannot be read: {error.strerror}") from error
        if len(raw) > limit:
            raise FormatError(f"{path} is larger than {self.name} can be")
        content = gunzip(raw, self.size, str(path)) if self.gzip else raw
        if (digest := hashlib.sha256(content).hexdigest()) != self.sha256:
            raise FormatError(
                f"{path} does not hold {self.name}: the SHA-256 of its content is {digest}, "
                f"not {self.sha256}"
            )
        return content


@dataclass(frozen=True)
class Source:
    """A data set: its files by split, and the servers that have them, in the order to ask.

    A split of gzip files is IDX (images, labels); any other is CIFAR's binary batches. ``archive``
    is set where the servers have one tar file, whose members end in the files' names.
    """

    name: str
    classes: tuple[str, ...]
    splits: dict[str, tuple[File, ...]]
    servers: tuple[str, ...] = ()
    archive: File | None = None


def _idx(prefix: str, count: int, images: str, labels: str) -> tuple[File, ...]:
    """The two files of a split of MNIST or of one made like it."""
    return (
        File(f"{prefix}-images-idx3-ubyte.gz", 16 + 784 * count, images, gzip=True),
        File(f"{prefix}-labels-idx1-ubyte.gz", 8 + count, labels, gzip=True),
    )


def _batch(name: str, digest: str) -> File:
    """One of CIFAR's: 10,000 records of a label byte and 3 planes of 32x32 pixels."""
    return File(f"{name}.bin", 10_000 * (1 + 3072), digest)


# The digests of mnist, fashion-mnist and cifar-10 are those that independent projects publish for
# the official files; tests/data/test_store.py checks them against real copies.
SOURCES = {
    source.name: source
    for source in (
        Source(  # the first 6,000 and 2,000 digits of mnist; ships inside the package
            "mnist-mini",
            _DIGITS,
            {
                "train": _idx(
                    "train",
                    6_000,
                    "2782ff6f3467f3487a520503c34fe99b761aa97623af029969e59716ac3585c3",
                    "0d830540a6191e75a9f5cd63cd5b4bde38960b893784bbf456d560179296d7cd",
                ),
                "test": _idx(
                    "t10k",
                    2_000,
                    "3f6bd66dee48df299584c67669bceee490faa25f931496bd7473b42106d7daed",
                    "7b098e5f6a3065807cebeabf36fb1724a8aff19f2673ac08b4923e0e8c715bce",
                ),
            },
        ),
        Source(
            "mnist",
            _DIGITS,
            {
                "train": _idx(
                    "train",
                    60_000,
                    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                ),
                "test": _idx(
                    "t10k",
                    10_000,
                    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
                ),
            },
            (
                "https://storage.googleapis.com/cvdf-datasets/mnist/",
                "https://ossci-datasets.s3.amazonaws.com/mnist/",
            ),
        ),
        Source(
            "fashion-mnist",
            _GARMENTS,
            {
                "train": _idx(
                    "train",
                    60_000,
                    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                ),
                "test": _idx(
                    "t10k",
                    10_000,
                    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
                ),
            },
            (
                "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            ),
        ),
        Source(
            "cifar-10",
            _OBJECTS,
            {
                "train": (
                    _batch(
                        "data_batch_1",
                        "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
                    ),
                    _batch(
                        "data_batch_2",
                        "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
                    ),
                    _batch(
                        "data_batch_3",
                        "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
                    ),
                    _batch(
                        "data_batch_4",
                        "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
                    ),
                    _batch(
                        "data_batch_5",
                        "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
                    ),
                ),
                "test": (
                    _batch(
                        "test_batch",
                        "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
                    ),
                ),
            },
            ("https://www.cs.toronto.edu/~kriz/",),
            File(
                "cifar-10-binary.tar.gz",
                170_052_171,
                "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            ),
        ),
    )
}


def names() -> tuple[str, ...]:
    """The data sets that ``load`` knows.

    >>> from graphc import data
    >>> data.names()
    ('mnist-mini', 'mnist', 'fashion-mnist', 'cifar-10')
    """
    return tuple(SOURCES)
