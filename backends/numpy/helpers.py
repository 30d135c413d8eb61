"""Functions that printed source brings along, where NumPy has none: only those that it calls."""

HELPERS = {
    "bfloat16": """
from ml_dtypes import bfloat16  # NumPy has no such type of its own
""",
    # -log(1 - erf z) / z is smooth: here a polynomial, fitted at Chebyshev points of [0, 4] for
    # float32 and of [0, 6] for float64; beyond them erf is 1. Errors: 1.2e-7 and 2e-13.
    "erf": """
ERF4 = [
    -0.000101849916, 0.000271094454, -0.00024482026, -8.61325306e-05, 0.00134321164,
    -0.0056366147, 0.0173829879, -0.0459560718, 0.111811709, 1.73569041, 2.68247063,
]
ERF6 = [
    2.644971709682e-06, -4.273991169859e-06, -1.006530433124e-05, 2.002766599896e-05,
    7.739354353635e-06, -2.066673089938e-05, -1.866960100828e-05, 2.610186266995e-05,
    2.924370477326e-05, -7.939487788843e-05, 0.000128343786913, -0.0002249536971046,
    0.0003416313388875, -0.0003800670298098, 0.0001522078921201, 0.0007414065357249,
    -0.003079769491336, 0.008266930805049, -0.01873584559287, 0.03863690876137,
    -0.07517628851406, 0.1418833146854, 2.730299341676, 3.573454347327,
]
def erf(x, out):
    end, numbers = (6, ERF6) if out.dtype == np.float64 else (4, ERF4)
    z = np.minimum(np.abs(x, dtype=np.result_type(out, np.float32)), end)
    t = z * (2 / end) - 1
    y = np.zeros_like(t)
    for number in numbers:
        y *= t
        y += number
    np.copysign(-np.expm1(-y * z), x, out=out)
""",
    "fit": """
def fit(n, c, k, d, size):  # two slices: the a of range(n) where (c*a + k)/d is whole and in \
range(size), and where it points
    a = [a for a in range(n) if (c * a + k) % d == 0 and 0 <= c * a + k < size * d]
    ends = [(p[0], p[-1] + 1) if p else (0, 0) for p in (a, [(c * p + k) // d for p in a])]
    steps = d // math.gcd(c, d), c // math.gcd(c, d)
    return [slice(*end, step) for end, step in zip(ends, steps)]
""",
    # Both see x as (batch, rows, rest), and number the rows of the whole batch.
    "gather": """
def gather(out, x, index, batch):  # out[b, k] = x[b, index[b, k]]
    size, lead = x.shape[batch], math.prod(x.shape[:batch])
    rows = index.reshape(lead, -1) + size * np.arange(lead)[:, None]
    x = x.reshape(lead * size, -1)
    np.take(x, rows.ravel(), 0, out.reshape(rows.size, -1), "clip")
""",
    "gather_grad": """
def gather_grad(out, g, index, batch):  # out[b, index[b, k]] += g[b, k], in the order of k
    size, lead = out.shape[batch], math.prod(out.shape[:batch])
    rows = (index.reshape(lead, -1) + size * np.arange(lead)[:, None]).ravel()
    order = np.argsort(rows, kind="stable")
    rows = rows[order]
    first = np.flatnonzero(np.diff(rows, prepend=-1))
    out[...] = 0
    g = g.reshape(rows.size, -1)[order]
    out.reshape(lead * size, -1)[rows[first]] = np.add.reduceat(g, first, 0)
""",
    "uniform": """
def uniform(out, seed, step, stream):
    key, counter = np.array([int(seed), stream], np.uint64), [0, 0, int(step), 0]
    bits = np.random.Philox(key=key, counter=counter)
    np.random.Generator(bits).random(out=out, dtype=np.float32)
""",
    "inside": """
def inside(values, low, high, what):
    if values.size and not low <= values.min() <= values.max() < high:
        found = f"from {values.min()} to {values.max()}"
        raise ValueError(f"{what} is outside [{low}, {high}): they run {found}")
""",
}
