"""Why drawn faults of the CUDA printer that are not caught are none."""

from __future__ import annotations

DEFAULT = "1 is where `math.prod` starts anyway"
ANNOTATION = "an annotation"
ORDER = "the order of what depends on nothing of each other"
BOTH = "host and kernel ask the same function: whatever the order, it is one"
SEQUENCE = "only iterated over: in the same order"
SPEED = "which of two right ways neighbouring threads load a tile in"
BLOCKS = "how many blocks are launched (CuPy makes 0 one): their loop goes through all points"
FEWER = "fewer descriptions become one kernel"
BOUND = (
    "the points and the sizes of the buffers are bounds too, and an index leaves its buffer by a "
    "window at most"
)

REASONS: dict[str, str] = {
    "segments.extent: math.prod((axis.extent for axis in axes), start=1) -> "
    "math.prod((axis.extent for axis in axes))": DEFAULT,
    "schedule.index_reach: abs(c) * most(axis.extent, largest) -> abs(c)": BOUND,
    "tiles._contiguous: last.divisor == 1 -> last.divisor != 1": SPEED,
    "tiles._contiguous: last is not None and any((a is axis and abs(c) == 1 for a, c in "
    "moving(last))) and (last.divisor == 1) -> last is not None or any((a is axis and abs(c) == 1 "
    "for a, c in moving(last))) or last.divisor == 1": SPEED,
    "spelling.expression: op -> dtype (3)": "the text of a refusal that no op meets",
    "writer.Walk.points: a -> group": "nothing calls it",
    "segments.Segment.points: routine_points(self.step) -> -routine_points(self.step)": BLOCKS,
    "segments.routine_points: axis + 1 -> axis - 1": BLOCKS,
    "writer.Walk.head: sorted(self.lines.items()) -> self.lines.items()": ORDER,
    "tiles._Product.__init__: walk(roots(step)) -> roots(step)": (
        "an axis whose coordinate is asked for is alone in its group of a product's axes"
    ),
    "segments.walk: -1 -> 1": BOTH,
    "launch.identity: lowest -> info": "the largest of bools: no op reduces them",
    "segments.Launch.reads: (Ref, None) -> (None, Ref)": ANNOTATION,
    "writer.Writer.__init__: (Ref, str) -> (str, Ref)": ANNOTATION,
    "launch._value_type: acc.expr.dtype if acc.monoid == 'argmax' else acc.dtype -> "
    "acc.expr.dtype": "all but argmax have the type of what they reduce",
    "launch.arguments: dict.fromkeys((*launch.reads(), *launch.writes())) -> "
    "(*launch.reads(), *launch.writes())": "no launch reads and writes one value",
    "segments.reach: points * BLOCK if any((p.over for p in step.phases)) else points -> "
    "points * BLOCK": "indices of 64 bits a little earlier than needed",
    "launch.combined: (left, right) -> (right, left)": (
        "a + b is b + a; of equal ones either is the largest"
    ),
    "segments.Launch.sizes: tuple(sorted(names(found))) -> sorted(names(found))": SEQUENCE,
    "segments.segment_reads: tuple(dict.fromkeys((load.ref for load in segment_loads(step)))) -> "
    "dict.fromkeys((load.ref for load in segment_loads(step)))": SEQUENCE,
    "inline.identity: 1 -> 2 (4)": FEWER,
    "merge._mapping: 1 -> 2 (5)": FEWER,
    "fuse._packs: isinstance(step, Kernel) and (piece.late or products.size(extent("
    "step.parallel)) <= SMALL) -> isinstance(step, Kernel)": (
        "large kernels run side by side too: only speed"
    ),
    "schedule.most: largest.get(atom, UNBOUNDED) ** power -> largest.get(atom, UNBOUNDED)": (
        "the strides of a buffer times its indices are a bound too"
    ),
    "inline._Inliner.run: self.writers[store.ref] == 1 -> self.writers[store.ref] != 1": FEWER,
    "fuse._together: first.writes() & second.writes() -> first.writes()": (
        "kernels run one after the other that could run side by side: only speed"
    ),
    "inline._Inliner._cheap: heavy or count > (4 if points == 1 else WINDOW) -> "
    "count > (4 if points == 1 else WINDOW)": "a costly function may be computed twice: only speed",
}
