"""The error of a kernel that a device, watched by compute-sanitizer, would have refused."""

from __future__ import annotations

from ...ir.errors import BackendError


class DeviceFault(BackendError):
    """A kernel did what it must not; the message says which instruction, thread and address.

    Attributes: ``kernel`` (its name in the PTX), ``ptx_line`` (1-based), ``cuda_line``
    (``"file.cu:12"`` where the PTX was made with ``-lineinfo``, else None), ``block`` and
    ``thread`` (x, y, z; of the first thread at fault, None for a fault of a whole block),
    ``address`` (None unless a memory access is at fault).

    >>> from graphc.backends.emulated import DeviceFault, run_ptx
    >>> issubclass(DeviceFault, RuntimeError)
    True
    """

    def __init__(
        self,
        problem: str,
        *,
        kernel: str,
        instruction: str = "",
        ptx_line: int | None = None,
        cuda_line: str | None = None,
        block: tuple[int, int, int] | None = None,
        thread: tuple[int, int, int] | None = None,
        address: int | None = None,
    ) -> None:
        where = [f"kernel {kernel}"]
        if cuda_line is not None:
            where.append(cuda_line)
        if ptx_line is not None:
            where.append(f"PTX line {ptx_line}: {instruction}")
        if block is not None:
            where.append(f"block {block}" + ("" if thread is None else f", thread {thread}"))
        super().__init__("\n  ".join([problem, *where]))
        self.problem = problem
        self.kernel = kernel
        self.ptx_line = ptx_line
        self.cuda_line = cuda_line
        self.block = block
        self.thread = thread
        self.address = address
