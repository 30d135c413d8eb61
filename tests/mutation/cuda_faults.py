"""Faults of the CUDA that is printed, written by hand: what people get wrong in kernels."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """An edit of printed CUDA: every match of ``pattern`` becomes ``replacement``. ``graphs``: the
    names of those that are tried; ``lives``: why none of them can tell."""

    name: str
    graphs: tuple[str, ...]
    pattern: str
    replacement: str
    lives: str = ""

    def edit(self, source: str) -> str:
        return re.sub(self.pattern, self.replacement, source)


def _on(graphs: str, *edits: tuple[str, ...]) -> list[Fault]:
    return [Fault(name, tuple(graphs.split()), *edit) for name, *edit in edits]


FAULTS = [
    *_on(
        "products",
        ("no barrier between loading a tile and reading it",
         r"__syncthreads\(\);(\n\s+#pragma unroll\n\s+for \(int k = 0)", r"\1"),
        ("no barrier before shared memory is used again",
         r"(\n\s+\}\n\s+\}\n)\s+__syncthreads\(\);\n(\s+\}\n)", r"\1\2"),
        ("a barrier that a part of the block reaches",
         r"(as\[lk\]\[l\] = v;)", r"\1 if (threadIdx.x < 128) __syncthreads();"),
        ("a row too many: < becomes <=", r"if \(m < (\w+) && n", r"if (m <= \1 && n"),
        ("a column too many: < becomes <=", r"&& n < (\w+)\)", r"&& n <= \1)"),
        ("the last part of a split sum is lost", r"const int k2 = [^;]*;",
         "const int k2 = part == 3 ? k1 : k1 + share;"),
        ("parts of a sum overlap", r"const int k1 = part \* share;",
         "const int k1 = part ? part * share - 1 : 0;"),
        ("a tile is stored transposed", r"as\[lk\]\[l\] = v", "as[l % 16][lk] = v"),
        ("elements of a tile past the edge stay as they were", r"(\w+)\[lk\]\[l\] = v;",
         r"if (v != 0) \1[lk][l] = v;"),
        ("operands of the other thread's row", r"\[k\]\[tm \+ i", "[k][tn + i"),
        ("the sum does not start from zero", r"(c\[i\]\[j\] = )0(\.0f?)?;", r"\g<1>1;"),
        ("a batch too few", r"q /= mm;", "q = q / mm * (q / mm != 2);"),
        ("an index by the wrong leading dimension", r"1100 \*", "1099 *"),
    ),
    *_on(
        "rows",
        ("a barrier of the block's reduction is missing",
         r"__syncthreads\(\);(\n\s+a\d+ = wa)", r"\1"),
        ("a shuffle across half a warp", r"int d = 16;", "int d = 8;"),
        ("a shuffle of a part of the warp",
         r"__shfl_xor_sync\(0xffffffffu", "__shfl_xor_sync(0xffffu"),
        ("a warp's sum is left out", r"for \(int w = 1;", "for (int w = 2;"),
        ("a maximum that starts from zero",
         r"(float a\d+) = \(-__uint_as_float\(0x7f800000u\)\);", r"\1 = 0.0f;"),
        ("a maximum that drops NaN", r"isnan\(a\d+\)", "false"),
        ("of equal ones the last is taken", r"&& (\w+) < (a\d+i)\)", r"&& \1 > \2)"),
        ("argmax takes no NaN", r"\(isnan\((\w+)\) && !isnan\(\w+\)\)", "false"),
        ("lanes step by one warp too many", r"r \+= 32\)", "r += 64)"),
        ("a stride of threads that misses elements", r"r \+= 256\)", "r += 257)"),
        ("no lane is the one that stores", r"if \(lane == 0\)", "if (lane == 0 && p % 2)"),
        ("a segment begins a block late", r"\(blockIdx\.x - e0\)", "(blockIdx.x - e0 + 1)"),
        ("a segment takes the next one's first block",
         r"blockIdx\.x < e(\d)", r"blockIdx.x <= e\1"),
    ),
    *_on(
        "convolution",
        ("the lower guard of a window", r"\w+ >= 0 && (?=\w+ [<>])", ""),
        ("the upper guard of a window: < becomes <=", r"(t\d+) < (\d+)(?=[ ;&])", r"\1 <= \2"),
        ("a mask is lost", r"ok\d+ \? (b\d+\[[^\]]*\]) : 0\.0f", r"\1"),
        ("outside of a pooled image is 0, not -infinity",
         r": \(-__uint_as_float\(0x7f800000u\)\)", ": 0.0f"),
        ("a grid-stride loop that stops early", r"p < (\d+|d\d+|\d+ \* s\d+); p", r"p < \1 - 1; p"),
        ("__restrict__ where memory is shared",
         r"([a-z]\*) (b\d+[,)])", r"\1 __restrict__ \2",
         "an element that is overwritten is read by the thread that overwrites it, before that"),
        ("a thread for every second point", r"\* 256 \+ \(int\)threadIdx\.x",
         "* 256 + (int)threadIdx.x / 2"),
    ),
    *_on("looped", ("whole blocks are skipped", r"(p \+= [^{]*) \* 256\)", r"\1 * 512)")),
    *_on(
        "rows_looped",
        ("shared memory of a reduction is used by the next point before all have read it",
         r"(\n\s+\}\n\s+)__syncthreads\(\);(?!\n\s+a\d+ = w)", r"\1"),
    ),
    *_on(
        "drawn",
        ("nine rounds of Philox", r"round < 10", "round < 9"),
        ("eleven rounds of Philox", r"round < 10", "round < 11"),
        ("a key of Philox is not raised", r"k1 \+= 0xBB67AE8584CAA73BULL;", ""),
        ("a constant of Philox is off by one bit", r"0x9E3779B97F4A7C15", "0x9E3779B97F4A7C14"),
        ("the two multipliers of Philox exchanged", r"0xD2E7470EE14C6C93ULL \* c0",
         "0xCA5A826395121157ULL * c0"),
        ("the first block of the counter", r"i / 8 \+ 1", "i / 8"),
        ("the halves of a word exchanged", r"i % 2 \?", "i % 2 == 0 ?"),
        ("23 bits of a number for 24", r"half >> 8\)", "half >> 9 << 1)"),
        ("the step is cut to 32 bits", r"\(unsigned long long\)step", "(unsigned)step"),
        ("the seed is cut to 32 bits", r"k0 = seed", "k0 = (unsigned)seed"),
        ("a word of four is never drawn", r"word == 2 \? c2 : c3", "c2"),
    ),
    *_on(
        "large",
        ("the number of a 64-bit index is computed in 32 bits", r"\(long long\)blockIdx",
         "(int)blockIdx"),
        ("64-bit positions of a window in 32 bits",
         r"const long long (t\d+) =", r"const short \1 ="),
        ("the second half of a 64-bit index is lost", r"const long long (i\w*\d+) = p / (\d+)",
         r"const int \1 = (int)p / \2"),
    ),
    *_on(
        "windows movement",
        ("a size of 64 bits where 32 are given", r"const int (s\d+)", r"const long long \1",
         "arguments go by address: behind the 4 bytes of a size lie 4 of the host's, mostly 0"),
    ),
    *_on(
        "indexed",
        ("an unstable order of equal rows", r"k < p\)", "k > p)"),
        ("a gradient of the first pick alone", r"\+\+k\) \{\n(\s+const float one)",
         r"k += 99) {\n\1"),
        ("a running sum that forgets its first element", r"for \(int k = 0; k < (\w+); \+\+k\)",
         r"for (int k = 1; k < \1; ++k)"),
        ("a running sum that is stored before it is added to",
         r"(\s+total = total \+ one;)(\s+b\d+\[at\] = total;)", r"\2\1"),
        ("a row past the end of the table", r"\+ row\)", "+ row + 1)"),
    ),
    *_on(
        "halves",
        ("float16 cut instead of rounded", r"cvt\.rn\.f16\.f32", "cvt.rz.f16.f32"),
        ("bfloat16 cut instead of rounded", r"\(bits \+ 0x7fffu \+ \(bits >> 16 & 1u\)\)", "bits"),
        ("ties of bfloat16 away from zero", r"0x7fffu \+ \(bits >> 16 & 1u\)", "0x8000u"),
        ("operations of 16 bits are not rounded", r"of_half\(to_half\(([^()]*)\)\)", r"(\1)"),
    ),
    *_on(
        "numbers",
        ("a constant of too few digits", r"0\.33333334f", "0.333333f"),
        ("a denormal constant is flushed", r"1e-40f", "0.0f"),
        ("a maximum by fmaxf",
         r"= (v\d+) >= (v\d+) \|\| isnan\(\1\) \? \1 : \2", r"= fmaxf(\1, \2)"),
        ("relu of NaN is 0", r"(v\d+) < 0\.0f \? 0\.0f : \1", r"\1 > 0.0f ? \1 : 0.0f"),
        ("double constants by way of float", r"(0\.333333333333333\d+)(?!f)", r"\1f"),
    ),
    *_on(
        "integers",
        ("a small type is compared as unsigned", r"const signed char", "const unsigned char"),
        ("a sum of 64 bits in 32", r"long long (a\d+) =", r"int \1 ="),
        ("the smallest number as a positive one", r"-9223372036854775807LL - 1",
         "9223372036854775807LL"),
    ),
    *_on(
        "movement",
        ("a strided slice by the next stride", r"2 \* (i\d)", r"1 * \1"),
        ("a reversal that begins one too far", r"- (i\d) \+ 6\]", r"- \1 + 5]"),
        ("padding with another value", r"\(-3\.0f\)", "0.0f"),
    ),
]  # fmt: skip
