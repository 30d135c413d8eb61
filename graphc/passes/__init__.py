"""Passes: functions Graph -> Graph, each with a name and a one-line law.

``graph.apply(passes.backward(), passes.sgd(lr=0.1))`` runs them in order, verifies after each, and
keeps every graph on the way in ``.history``. ``passes.define`` makes your own.
"""

from graphc.passes import schedules
from graphc.passes.accumulate import accumulate
from graphc.passes.adam import adam, adamw
from graphc.passes.backward import backward
from graphc.passes.checkpoint import checkpoint
from graphc.passes.clip_gradients import clip_gradients
from graphc.passes.define import Pass, define
from graphc.passes.fold_batch_norm import fold_batch_norm
from graphc.passes.inference import inference
from graphc.passes.insert_dropout import insert_dropout
from graphc.passes.mixed_precision import mixed_precision
from graphc.passes.rmsprop import rmsprop
from graphc.passes.sgd import sgd
from graphc.passes.shard import shard
from graphc.passes.simplify import simplify
from graphc.passes.unshare import share, unshare
from graphc.passes.weight_decay import weight_decay

__all__ = [
    "Pass",
    "accumulate",
    "adam",
    "adamw",
    "backward",
    "checkpoint",
    "clip_gradients",
    "define",
    "fold_batch_norm",
    "inference",
    "insert_dropout",
    "mixed_precision",
    "rmsprop",
    "schedules",
    "sgd",
    "shard",
    "share",
    "simplify",
    "unshare",
    "weight_decay",
]
