"""Work that runs as late as CUDA allows: correct programs are as ever, lucky ones are found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import models, passes
from graphc.backends import emulated
from graphc.backends.emulated.driver.streams import Queues

emulated.install()

import cupy as cp  # noqa: E402 - on the emulated device
import cupyx  # noqa: E402

DOUBLE = cp.ElementwiseKernel("T x", "T y", "y = 2 * x", "cupy_test_double")


class Batches:
    """Batches that come through pinned memory on a stream of their own."""

    def __init__(self, *, wait_for_copy: bool, wait_for_host: bool) -> None:
        self.compute = cp.cuda.Stream(non_blocking=True)
        self.copies = cp.cuda.Stream(non_blocking=True)
        self.wait_for_copy, self.wait_for_host = wait_for_copy, wait_for_host
        self.pinned = cupyx.zeros_pinned((4,), np.float32)
        self.x, self.y = cp.zeros(4, np.float32), cp.zeros(4, np.float32)
        self.found = cupyx.zeros_pinned((4,), np.float32)
        DOUBLE(self.x, self.y)
        cp.cuda.Device().synchronize()

    def run(self, count: int) -> list[float]:
        results = []
        for k in range(1, count + 1):
            self.pinned[...] = k
            self.x.set(self.pinned, stream=self.copies)
            if self.wait_for_copy:
                self.compute.wait_event(self.copies.record())
            with self.compute:
                DOUBLE(self.x, self.y)
            cp.asnumpy(self.y, stream=self.compute, out=self.found, blocking=False)
            if self.wait_for_host:
                self.compute.synchronize()
            results.append(float(self.found[0]))
        cp.cuda.Device().synchronize()
        return results


def test_who_waits_is_right() -> None:
    for others_first in (False, True):
        with emulated.late(others_first=others_first):
            assert Batches(wait_for_copy=True, wait_for_host=True).run(3) == [2, 4, 6]


@pytest.mark.parametrize(("copy", "host"), [(False, True), (True, False), (False, False)])
def test_who_forgets_to_wait_is_found(copy: bool, host: bool) -> None:
    assert Batches(wait_for_copy=copy, wait_for_host=host).run(3) == [2, 4, 6]  # by luck
    with emulated.late():
        assert Batches(wait_for_copy=copy, wait_for_host=host).run(3) != [2, 4, 6]


def test_pinned_memory_is_read_late_and_other_memory_at_once() -> None:
    stream = cp.cuda.Stream(non_blocking=True)
    x = cp.zeros(4, np.float32)
    for host, want in ((cupyx.zeros_pinned((4,), np.float32), 7), (np.zeros(4, np.float32), 3)):
        with emulated.late():
            host[...] = 3
            x.set(host, stream=stream)
            host[...] = 7  # before the copy has run
            stream.synchronize()
            assert x.get()[0] == want


def test_who_writes_over_what_is_still_read_is_found() -> None:
    for waits in (True, False):
        compute, copies = (cp.cuda.Stream(non_blocking=True) for _ in range(2))
        x, y = cp.zeros(4, np.float32), [cp.zeros(4, np.float32) for _ in range(2)]
        with emulated.late(others_first=True):
            used = None
            for k in range(2):
                if used is not None and waits:
                    copies.wait_event(used)
                x.set(np.full(4, k + 1, np.float32), stream=copies)
                compute.wait_event(copies.record())
                with compute:
                    DOUBLE(x, y[k])
                used = compute.record()
            compute.synchronize()
        assert (float(y[0][0]), float(y[1][0])) == ((2, 4) if waits else (4, 4))


def test_the_default_stream_waits_for_the_others_that_block() -> None:
    x, y, z = cp.ones(4, np.float32), cp.empty(4, np.float32), cp.empty(4, np.float32)
    for non_blocking in (False, True):
        stream = cp.cuda.Stream(non_blocking=non_blocking)
        y.fill(0)
        with emulated.late():
            with stream:
                DOUBLE(x, y)
            DOUBLE(y, z)  # on the default stream
            cp.cuda.Stream.null.synchronize()
            assert z.get()[0] == (0 if non_blocking else 4)


def test_an_event_is_a_point_in_its_stream() -> None:
    stream = cp.cuda.Stream(non_blocking=True)
    x = cp.zeros(4, np.float32)
    found = cupyx.zeros_pinned((4,), np.float32)
    with emulated.late():
        with stream:
            x.fill(1)
        cp.asnumpy(x, stream=stream, out=found, blocking=False)
        event = stream.record()
        with stream:
            x.fill(2)
        event.synchronize()
        assert found[0] == 1
        event = stream.record()
        assert [event.done for _ in range(3)] == [False, True, True]
        assert x.get()[0] == 2


def test_a_fault_comes_out_of_the_call_that_waits() -> None:
    kernel = cp.RawKernel(
        'extern "C" __global__ void wild(float* x) { x[1 << 28] = 1; }', "wild", ("-lineinfo",)
    )
    x = cp.zeros(4, np.float32)
    stream = cp.cuda.Stream(non_blocking=True)
    with emulated.late():
        with stream:
            kernel((1,), (1,), (x,))
        with pytest.raises(emulated.DeviceFault, match="kernel wild"):
            stream.synchronize()


def test_waiting_in_a_circle_of_streams_is_no_recursion() -> None:
    queues, order = Queues(), []
    for k in range(3000):  # each waits for the one before, on the other stream
        after = (queues.end(1 + k % 2),) if k else ()
        queues.add(2 - k % 2, lambda k=k: order.append(k), blocking=(), waits=False, after=after)  # type: ignore[misc]
    queues.run(queues.end(2 - 2999 % 2))
    assert order == list(range(3000))


def test_it_is_on_once() -> None:
    with emulated.late(), pytest.raises(gx.BackendError, match="is on already"), emulated.late():
        pass


def trained(steps: int) -> dict[str, Any]:
    graph = models.build("mlp-1x512", classes=10, image=(1, 6, 6))
    train = graph.apply(passes.backward(), passes.sgd(lr=0.05, momentum=0.9))
    program = gx.compile(train, backend="emulated", exact=True)
    variables = program.init(seed=0)
    rng = np.random.default_rng(0)
    losses = []
    for step in range(steps):
        image: Any = rng.standard_normal((3, 1, 6, 6)).astype(np.float32)
        label = rng.integers(0, 10, 3)
        if step % 3 == 2:  # made on the device, on the caller's stream
            image = cp.asarray(image) * 2
        if step == 4:  # so is a change of a variable between two steps
            for name in program.graph.parameters:
                variables[name] *= 0.5
        losses.append(program(variables, image=image, label=label)["loss"])
        if step == 4:  # whoever waits for the step alone gets all that it needs
            program.backend.streams()[0].synchronize()
    return {"losses": [float(v) for v in losses]} | {
        name: gx.to_numpy(v).copy() for name, v in variables.items()
    }


@pytest.mark.parametrize("others_first", [False, True])
def test_training_waits_for_all_that_it_needs(others_first: bool) -> None:
    want = trained(7)
    with emulated.late(others_first=others_first):
        got = trained(7)
    for name, value in want.items():
        np.testing.assert_array_equal(got[name], value, err_msg=name)


def test_the_garbage_collector_may_free_in_the_middle_of_work() -> None:
    x, y = cp.arange(4, dtype=np.float32), cp.zeros(4, np.float32)
    stream = cp.cuda.Stream(non_blocking=True)
    gone = cp.cuda.runtime.malloc(64)
    found: list[str] = []
    with emulated.late():
        # A callback stands for any work in which Python happens to collect garbage.
        stream.launch_host_func(lambda _: cp.cuda.runtime.free(gone), None)
        stream.launch_host_func(lambda _: found.append("first"), None)
        with stream:
            DOUBLE(x, y)
        stream.launch_host_func(lambda _: found.append(str(y.data.ptr in (gone,))), None)
        stream.synchronize()
    assert found == ["first", "False"]
    assert y.get().tolist() == [0, 2, 4, 6]
