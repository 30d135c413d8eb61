"""A matrix product by tiles in shared memory, its operands loaded through any map.

A convolution is one such product whose operand is read through its windows: nothing is copied out
first. The sum of an element runs through k in order, in one thread: a fixed order, whatever the
tile.
"""

from __future__ import annotations

from ...ir.kernel import Axis, Load, Position
from .addresses import moving
from .schedule import collapse
from .segments import BLOCK, Product, accesses, extent, roots, walk
from .spelling import HALVES, Unsupported, c_type, from_memory, literal, to_memory
from .writer import Groups, Walk, Writer


def product_lines(writer: Writer, step: Product, block: str) -> list[str]:
    """The lines of a product on the blocks of its segment."""
    return _Product(writer, step, block).lines()


class _Product:
    def __init__(self, writer: Writer, step: Product, block: str) -> None:
        self.writer, self.step, self.block = writer, step, block
        self.gemm, self.tile = step.gemm, step.tile
        dtype = self.gemm.a.dtype
        if dtype.kind not in "fiu" and dtype.name not in HALVES:
            raise Unsupported(f"it multiplies matrices of {dtype.name}")
        self.kind = c_type(dtype)
        touched = accesses(step)
        positions = {e.axis for e in walk(roots(step)) if isinstance(e, Position)}
        self.groups = {
            letter: collapse(axes, touched, positions)
            for letter, axes in (
                ("z", self.gemm.batch), ("m", self.gemm.m), ("n", self.gemm.n), ("k", self.gemm.k),
            )
        }  # fmt: skip

    def lines(self) -> list[str]:
        writer, tile, gemm = self.writer, self.tile, self.gemm
        integer = writer.integer
        size = {
            letter: writer.size(extent(axes))
            for letter, axes in (("m", gemm.m), ("n", gemm.n), ("k", gemm.k), ("z", gemm.batch))
        }
        lanes = tile.columns // tile.across  # threads along the columns
        threads = lanes * (tile.rows // tile.down)
        if threads != BLOCK:
            raise ValueError(f"{tile} is for {threads} threads, not {BLOCK}")
        across = f"({size['n']} + {tile.columns - 1}) / {tile.columns}"
        down = f"({size['m']} + {tile.rows - 1}) / {tile.rows}"
        lines = [
            f"{integer} q = {block_number(self.block, integer)};",
            f"const {integer} nn = {across}, mm = {down};",
            f"const {integer} n0 = q % nn * {tile.columns};",
            "q /= nn;",
            f"const {integer} m0 = q % mm * {tile.rows};",
            "q /= mm;",
        ]
        first, last = "0", size["k"]
        if self.step.parts > 1:
            lines += [
                f"const {integer} part = q % {self.step.parts};",
                f"q /= {self.step.parts};",
                f"const {integer} share = "
                f"({size['k']} + {self.step.parts - 1}) / {self.step.parts};",
                f"const {integer} k1 = part * share;",
                f"const {integer} k2 = k1 + share < {size['k']} ? k1 + share : {size['k']};",
            ]
            first, last = "k1", "k2"
        if gemm.batch:
            lines.append(f"const {integer} z = q;")
        down_, across_ = tile.down, tile.across
        lines += [
            f"const int tn = (int)threadIdx.x % {lanes}, tm = (int)threadIdx.x / {lanes};",
            f"__shared__ {self.kind} as[{tile.depth}][{tile.rows + 1}];",
            f"__shared__ {self.kind} bs[{tile.depth}][{tile.columns + 1}];",
            f"{self.kind} c[{down_}][{across_}];",
            "#pragma unroll",
            f"for (int i = 0; i < {down_}; ++i) {{",
            "    #pragma unroll",
            f"    for (int j = 0; j < {across_}; ++j) c[i][j] = {literal(0, gemm.a.dtype)};",
            "}",
        ]
        lines += [
            f"for ({integer} k0 = {first}; k0 < {last}; k0 += {tile.depth}) {{",
            *_indent(self.operand("as", gemm.a, "m", tile.rows, size["m"], last)),
            *_indent(self.operand("bs", gemm.b, "n", tile.columns, size["n"], last)),
            "    __syncthreads();",
            "    #pragma unroll",
            f"    for (int k = 0; k < {tile.depth}; ++k) {{",
            f"        {self.kind} a[{down_}], b[{across_}];",
            "        #pragma unroll",
            f"        for (int i = 0; i < {down_}; ++i) "
            f"a[i] = as[k][tm + i * {tile.rows // down_}];",
            "        #pragma unroll",
            f"        for (int j = 0; j < {across_}; ++j) b[j] = bs[k][tn + j * {lanes}];",
            "        #pragma unroll",
            f"        for (int i = 0; i < {down_}; ++i) {{",
            "            #pragma unroll",
            f"            for (int j = 0; j < {across_}; ++j) "
            f"c[i][j] = {self.multiply_add('c[i][j]', 'a[i]', 'b[j]')};",
            "        }",
            "    }",
            "    __syncthreads();",
            "}",
        ]
        lines += self.results(size, lanes)
        return [*writer.prologue, *lines]

    def multiply_add(self, total: str, a: str, b: str) -> str:
        """One step of a sum: rounded once, where a device has it so."""
        fused = {"float": "fmaf", "double": "fma"}.get(self.kind)
        return f"{total} + {a} * {b}" if fused is None else f"{fused}({a}, {b}, {total})"

    def operand(
        self, name: str, load: Load, letter: str, width: int, bound: str, last: str
    ) -> list[str]:
        """A tile of an operand into shared memory: neighbouring threads read neighbours."""
        writer, depth = self.writer, self.tile.depth
        integer = writer.integer
        k_fast = _contiguous(load, self.groups["k"]) and not _contiguous(load, self.groups[letter])
        if k_fast:
            place = [f"const int lk = t % {depth}, l = t / {depth};"]
        else:
            place = [f"const int l = t % {width}, lk = t / {width};"]
        lines = [*place, f"const {integer} {letter} = {letter}0 + l, k = k0 + lk;"]
        lines.append(f"{self.kind} v = {literal(0, load.dtype)};")
        for variable, coordinate in (("z", "z"), (letter, "i"), ("k", "j")):
            writer.enter(Walk(variable, f"{coordinate}{variable}", self.groups[variable]))
        text = writer.load(load)
        inner: list[str] = []
        for _ in range(3):
            inner = [*writer.leave(), *inner]
        lines.append(f"if ({letter} < {bound} && k < {last}) {{")
        lines += _indent([*inner, f"v = {text};"])
        lines += ["}", f"{name}[lk][l] = v;"]
        cells = width * depth
        return [
            "#pragma unroll",
            f"for (int t0 = 0; t0 < {cells}; t0 += {BLOCK}) {{",
            "    const int t = t0 + (int)threadIdx.x;",
            *([f"    if (t < {cells}) {{", *_indent(_indent(lines)), "    }"]
              if cells % BLOCK else _indent(lines)),
            "}",
        ]  # fmt: skip

    def results(self, size: dict[str, str], lanes: int) -> list[str]:
        """What is stored of each element that the thread holds."""
        writer, tile, gemm, integer = self.writer, self.tile, self.gemm, self.writer.integer
        element = "c[i][j]"
        if gemm.out.dtype.name in HALVES:
            element = from_memory(to_memory(element, gemm.out.dtype), gemm.out.dtype)
        walks = [Walk(variable, f"o{variable}", self.groups[variable]) for variable in "zmn"]
        if self.step.part is not None:
            walks.insert(0, Walk("part", "op", ((self.step.part,),)))
        for walk_ in walks:
            writer.enter(walk_)
        writer.given[self.step.element()] = "value"
        stores = [writer.store(store) for store in self.step.stores]
        writer.body.extend(stores)
        inner: list[str] = []
        for _ in walks:
            inner = [*writer.leave(), *inner]
        return [
            "#pragma unroll",
            f"for (int i = 0; i < {tile.down}; ++i) {{",
            "    #pragma unroll",
            f"    for (int j = 0; j < {tile.across}; ++j) {{",
            f"        const {integer} m = m0 + tm + i * {tile.rows // tile.down};",
            f"        const {integer} n = n0 + tn + j * {lanes};",
            f"        if (m < {size['m']} && n < {size['n']}) {{",
            f"            const {self.kind} value = {element};",
            *(f"            {line}" for line in inner),
            "        }",
            "    }",
            "}",
        ]


def _indent(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def block_number(block: str, integer: str) -> str:
    """The number of a block as an index."""
    return f"({integer}){block}"


def _contiguous(load: Load, groups: Groups) -> bool:
    """Whether one step along the innermost axis of ``groups`` is one step in memory."""
    if not groups:
        return False
    axis: Axis = groups[-1][-1]
    last = load.index[-1] if load.index else None
    return (
        last is not None
        and any(a is axis and abs(c) == 1 for a, c in moving(last))
        and (last.divisor == 1)
    )


__all__ = ["product_lines"]
