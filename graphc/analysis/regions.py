"""Sets of elements of a tensor: unions of products, one ``Progressions`` for each axis.

What one chain of windows reads is a single product. Branches that are joined add products: an
element is in the region if it is in one of them. A region is exact, never a hull.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import product as combinations
from typing import TypeAlias

import numpy as np

from graphc.analysis.progressions import Numbers, Progressions

Product: TypeAlias = tuple[Progressions, ...]
Region: TypeAlias = tuple[Product, ...]

NOTHING: Region = ()
# More products than this are rewritten as disjoint ones, of which there are few.
MOST_PRODUCTS = 24


def whole(shape: Sequence[int]) -> Product:
    """Every element of a tensor of this shape."""
    return tuple(Progressions.span(0, size - 1) for size in shape)


def region(products: Iterable[Product]) -> Region:
    """The union of these products, with none that lies in another."""
    found: list[Product] = []
    for new in products:
        if not all(new) or any(_covers(old, new) for old in found):
            continue
        found = [old for old in found if not _covers(new, old)]
        # Two that differ along one axis only are one.
        while (at := _neighbour(found, new)) is not None:
            old = found.pop(at)
            new = tuple(a if a == b else a | b for a, b in zip(old, new, strict=True))
            found = [old for old in found if not _covers(new, old)]
        found.append(new)
    if len(found) > MOST_PRODUCTS:
        return _disjoint(found)
    return tuple(found)


def join(one: Region, other: Region) -> Region:
    """What is in either."""
    if not one or not other or one == other:
        return one or other
    return region((*one, *other))


def along(seen: Region, axis: int) -> Progressions:
    """The positions along an axis at which anything is."""
    return Progressions.union(run for each in seen for run in each[axis].runs)


def _covers(big: Product, small: Product) -> bool:
    return all(a.covers(b) for a, b in zip(big, small, strict=True))


def _neighbour(found: list[Product], new: Product) -> int | None:
    """Which of ``found`` differs from ``new`` along one axis only."""
    for at, old in enumerate(found):
        if sum(a != b for a, b in zip(old, new, strict=True)) <= 1:
            return at
    return None


def _disjoint(products: list[Product]) -> Region:
    """The same union in its canonical form: along the first axis, positions with equal rest are
    together, and the rest alike."""
    if not products[0]:
        return ((),)
    firsts = [each[0].array() for each in products]
    positions = np.unique(np.concatenate(firsts))
    belongs = np.stack([np.isin(positions, first, assume_unique=True) for first in firsts], 1)
    groups: dict[bytes, list[int]] = {}
    for position, row in zip(positions.tolist(), belongs, strict=True):
        groups.setdefault(row.tobytes(), []).append(position)
    rests: dict[Region, list[int]] = {}
    for key, members in groups.items():
        chosen = np.frombuffer(key, bool)
        inner = [each[1:] for each, here in zip(products, chosen, strict=True) if here]
        rests.setdefault(_disjoint(inner), []).extend(members)
    return tuple(
        (Progressions.of(at), *rest) for rests_at, at in rests.items() for rest in rests_at
    )


# -- the same elements under another shape --------------------------------------------------------


def groups(out: Sequence[int], inside: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Axes of two shapes of one number of elements, group by group of equal products."""
    found = []
    i = j = 0
    while i < len(inside) or j < len(out):
        first_in, first_out = i, j
        i, j = min(i + 1, len(inside)), min(j + 1, len(out))
        while math.prod(inside[first_in:i]) != math.prod(out[first_out:j]):
            if math.prod(inside[first_in:i]) < math.prod(out[first_out:j]):
                i += 1
            else:
                j += 1
        found.append((list(range(first_out, j)), list(range(first_in, i))))
    return found


def reshaped(seen: Region, out: Sequence[int], inside: Sequence[int]) -> Region:
    """The elements ``seen`` of a tensor of shape ``out``, as those of one of shape ``inside``."""
    split = groups(out, inside)
    found: list[Product] = []
    for each in seen:
        parts = [
            _regroup([each[a] for a in outs], [out[a] for a in outs], [inside[a] for a in ins])
            for outs, ins in split
        ]
        found += [sum(choice, ()) for choice in combinations(*parts)]
    return region(found)


def _regroup(sets: Sequence[Progressions], out: list[int], inside: list[int]) -> list[Product]:
    """One group: some axes of the result become some axes of what was reshaped."""
    wide_out = [i for i, size in enumerate(out) if size != 1]
    wide_in = [i for i, size in enumerate(inside) if size != 1]
    if len(wide_out) <= 1 and len(wide_in) <= 1:
        one = Progressions.span(0, 0)
        moved = [one] * len(inside)
        if wide_in:
            moved[wide_in[0]] = sets[wide_out[0]]
        return [tuple(moved)]
    if all(len(s) == n and s.first == 0 for s, n in zip(sets, out, strict=True)):
        return [whole(inside)]
    flat = np.zeros(1, np.int64)
    for positions, size in zip(sets, out, strict=True):
        flat = (flat[:, None] * size + positions.array()).ravel()
    # Axes of one position hold it always; before another they would end what goes on for ever.
    found = []
    for parts in _unflattened(np.unique(flat), [inside[i] for i in wide_in]):
        product = [Progressions.span(0, 0)] * len(inside)
        for at, part in zip(wide_in, parts, strict=True):
            product[at] = part
        found.append(tuple(product))
    return found


def _unflattened(flat: Numbers, inside: Sequence[int]) -> list[Product]:
    """A set of row-major indices as products over these axes; the first may go on for ever."""
    if len(inside) == 1:
        return [(Progressions.of(flat),)]
    inner = math.prod(inside[1:])
    outer, rest = np.divmod(flat, inner)
    starts = np.flatnonzero(np.r_[True, np.diff(outer) != 0])
    alike: dict[bytes, list[int]] = {}
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), flat.size], strict=True):
        alike.setdefault(rest[start:end].tobytes(), []).append(int(outer[start]))
    found: list[Product] = []
    for key, members in alike.items():
        first = Progressions.of(members)
        deeper = _unflattened(np.frombuffer(key, np.int64), inside[1:])
        found += [(first, *each) for each in deeper]
    return found
