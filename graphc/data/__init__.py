"""Data sets in their official formats, and transformations that keep the label.

>>> from graphc import data
>>> train = data.load("mnist-mini", "train")
>>> train
<Dataset mnist-mini/train: 6000 images 1x28x28, 10 classes>
>>> x, y = train[:64].arrays()
>>> x.dtype, x.shape, y.dtype, y.shape
(dtype('float32'), (64, 1, 28, 28), dtype('int64'), (64,))
"""

from graphc.data import augment
from graphc.data.dataset import Dataset, union
from graphc.data.sources import names
from graphc.data.store import folder, load

__all__ = ["Dataset", "augment", "folder", "load", "names", "union"]
