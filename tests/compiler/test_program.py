"""Calling a program: sizes, variables, threads, failures."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import models, passes
from tests.compiler.nets import Feed, everything, feed, lenet, run


def equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert np.array_equal(found[name], array), name


def accumulator() -> gx.Graph:
    """total ← total + sum(x), with an output that reads the old total."""
    x = gx.input("x", ("N", 3))
    total = gx.state("total", (3,))
    return gx.Graph({"y": x + total}, updates={total: total + gx.sum(x, 0)})


# -- outputs --------------------------------------------------------------------------------------


def test_outputs_are_the_callers() -> None:
    graph = lenet()
    step = gx.compile(graph)
    variables = step.init(seed=0)
    given, losses = feed(graph, 8), []
    for _ in range(4):
        losses.append(step(variables, given)["loss"])  # noqa: PERF401
    assert len({float(loss) for loss in losses}) == 4
    assert losses[0].flags.owndata


def test_outputs_share_no_memory_with_anything() -> None:
    x = gx.input("x", ("N", 2))
    w = gx.parameter("w", (2,), init="ones")
    c = gx.constant(np.array([1.0, 2.0], np.float32))
    flat = gx.reshape(x, ("2*N",))
    graph = gx.Graph({"x": x, "w": w, "c": c, "flat": flat, "y": x * w, "same": x * w})
    for options in ({}, {"reuse_outputs": True}):
        program = gx.compile(graph, **options)
        variables = program.init()
        given = np.ones((3, 2), np.float32)
        out = program(variables, x=given)
        for array in out.values():
            array += 1
        assert variables["w"].tolist() == [1, 1]
        assert given.tolist() == [[1, 1]] * 3
        again = program(variables, x=given)
        assert again["c"].tolist() == [1, 2]
        assert again["y"].tolist() == [[1, 1]] * 3


def test_reused_outputs_are_views_until_the_next_call() -> None:
    graph = lenet()
    kept, lent = gx.compile(graph), gx.compile(graph, reuse_outputs=True)
    variables = kept.init(seed=0)
    given = feed(graph, 4)
    expected, after = run(kept, variables, given)
    held = {name: array.copy() for name, array in variables.items()}
    found = lent(held, given)
    equal(found, expected)
    equal(held, after)
    assert not found["logits"].flags.owndata
    later = lent(held, given)
    assert np.shares_memory(found["logits"], later["logits"])


# -- sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("net", [lenet, everything])
def test_growing_and_shrinking_changes_no_bit(net: Any) -> None:
    graph = net()
    variables = gx.compile(graph).init(seed=0)
    one = gx.compile(graph)
    for n in (3, 1, 7, 2, 7, 16, 5):
        given = feed(graph, n, seed=n)
        expected = run(gx.compile(graph), variables, given)
        found = run(one, variables, given)
        equal(found[0], expected[0])
        equal(found[1], expected[1])
    assert one.plan.capacity == {"N": 16}


@pytest.mark.parametrize("net", [lenet, everything])
def test_poison_changes_no_bit(net: Any) -> None:
    graph = net()
    plain, poisoned = gx.compile(graph), gx.compile(graph, poison=True)
    variables = plain.init(seed=1)
    for n in (5, 2):
        given = feed(graph, n)
        expected, found = run(plain, variables, given), run(poisoned, variables, given)
        equal(found[0], expected[0])
        equal(found[1], expected[1])
    assert "= 255" in poisoned.source
    assert "= 255" not in plain.source


def test_a_size_that_grows_where_a_name_shrinks() -> None:
    x, y = gx.input("x", ("N",)), gx.input("y", ("M",))
    both = gx.concat([x, y], 0)
    graph = gx.Graph({"tail": gx.exp(gx.relu(both[:-1]))[1:]})
    program = gx.compile(graph)
    for n, m in ((5, 2), (1, 9), (4, 4), (9, 1)):
        given = {"x": np.arange(n, dtype=np.float32), "y": np.ones(m, np.float32)}
        equal(program({}, given), gx.interpret(graph, {}, inputs=given))


def test_sizes_can_be_planned_for() -> None:
    program = gx.compile(lenet(), sizes={"N": 32})
    before = program.plan
    run(program, program.init(), feed(program.graph, 32))
    assert program.plan is before
    with pytest.raises(gx.GraphError, match="no dimension 'M'"):
        gx.compile(lenet(), sizes={"M": 32})
    for size in (0, -1, 2.0, True):
        with pytest.raises(gx.GraphError, match="at least 1"):
            gx.compile(lenet(), sizes={"N": size})  # type: ignore[dict-item]


def test_memory_limit() -> None:
    graph = lenet()
    small = gx.compile(graph, sizes={"N": 2}).plan.peak_bytes
    program = gx.compile(graph, memory_limit=small)
    variables = program.init()
    expected = run(program, variables, feed(graph, 2))
    with pytest.raises(gx.BackendError, match=f"memory_limit={small:,}: use a smaller batch"):
        program(variables, feed(graph, 3))
    equal(run(program, variables, feed(graph, 2))[0], expected[0])  # the old plan still serves
    with pytest.raises(gx.BackendError, match="memory_limit=10"):
        gx.compile(graph, memory_limit=10)


# -- variables ------------------------------------------------------------------------------------


def test_one_program_two_sets_of_variables_by_turns() -> None:
    graph = lenet()
    program = gx.compile(graph)
    sets = [program.init(seed=s) for s in (0, 1)]
    apart = [program.init(seed=s) for s in (0, 1)]
    for turn in range(6):
        which, given = turn % 2, feed(graph, 2 + turn % 3, seed=turn)
        found = program(sets[which], given)
        equal(found, gx.compile(graph)(apart[which], given))
        equal(sets[which], apart[which])


def test_arrays_replaced_between_calls() -> None:
    program = gx.compile(accumulator())
    variables = program.init()
    x = np.ones((2, 3), np.float32)
    program(variables, x=x)
    for _ in range(20):  # more than a program keeps views of
        variables["total"] = variables["total"].copy()
        before = variables["total"].copy()
        out = program(variables, x=x)
        assert out["y"].tolist() == (x + before).tolist()
        assert variables["total"].tolist() == (before + 2).tolist()


def test_variables_may_hold_more() -> None:
    program = gx.compile(accumulator())
    variables: dict[str, Any] = {**program.init(), "other": np.zeros(3), "note": "mine"}
    program(variables, x=np.ones((1, 3), np.float32))
    assert variables["note"] == "mine"
    assert variables["other"].tolist() == [0, 0, 0]
    bare = {"total": np.zeros(3, np.float32)}  # nothing is random: no seed, no step
    program(bare, x=np.ones((1, 3), np.float32))
    assert bare["total"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("threads", [None, 1, 2])
def test_threads_belong_to_the_plan(threads: int | None) -> None:
    graph = lenet()
    program = gx.compile(graph, threads=threads)
    assert f'OPENBLAS_NUM_THREADS="{threads or 1}"' in program.source
    variables = program.init()
    given = feed(graph, 4)
    first, second = run(program, variables, given), run(program, variables, given)
    equal(first[0], second[0])
    with pytest.raises(gx.GraphError, match="threads=0"):
        gx.compile(graph, threads=0)


def test_two_threads_call_one_program() -> None:
    graph = lenet()
    program = gx.compile(graph)
    sets = [program.init(seed=s) for s in range(2)]
    expected = []
    for which, variables in enumerate(sets):
        held = {name: array.copy() for name, array in variables.items()}
        expected.append([gx.compile(graph)(held, feed(graph, 1 + which, s)) for s in range(5)])
    found: list[list[dict[str, Any]]] = [[], []]

    def work(which: int) -> None:
        for s in range(5):
            found[which].append(program(sets[which], feed(graph, 1 + which, s)))

    workers = [threading.Thread(target=work, args=(which,)) for which in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for one, other in zip(found, expected, strict=True):
        for a, b in zip(one, other, strict=True):
            equal(a, b)


# -- failures -------------------------------------------------------------------------------------


def snapshot(variables: dict[str, Any]) -> dict[str, Any]:
    return {name: array.copy() for name, array in variables.items()}


def test_a_failed_label_check_leaves_the_variables_alone() -> None:
    graph = lenet()
    program = gx.compile(graph)
    variables = program.init()
    before, given = snapshot(variables), feed(graph, 4)
    bad: Feed = {**given, "label": np.array([0, 1, 10, 2])}
    with pytest.raises(gx.GraphError, match=r"(?s)cross_entropy.*outside \[0, 10\).*from 0 to 10"):
        program(variables, bad)
    equal(variables, before)
    program(variables, given)  # and it goes on


def test_a_check_of_computed_labels_is_late_but_before_the_updates() -> None:
    x = gx.input("x", ("N", 3))
    w = gx.parameter("w", (3,), init="ones")
    label = gx.cast(gx.sum(x, 1), "int64")
    loss = gx.cross_entropy(x * w, label)
    graph = gx.Graph({"loss": loss}).apply(passes.backward(), passes.sgd(lr=0.1))
    program = gx.compile(graph)
    variables = program.init()
    before = snapshot(variables)
    with pytest.raises(gx.GraphError, match="outside"):
        program(variables, x=np.full((2, 3), 7, np.float32))
    equal(variables, before)
    program(variables, x=np.zeros((2, 3), np.float32))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, MemoryError])
def test_a_failure_inside_the_updates_tears(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = lenet()
    program = gx.compile(graph)
    variables = program.init()
    given = feed(graph, 2)
    program(variables, given)
    real, calls = np.subtract, 0

    def failing(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 6:  # three parameters are new, the rest is old
            raise error("out of luck")
        return real(*args, **options)

    monkeypatch.setattr(np, "subtract", failing)
    with pytest.raises(error, match="out of luck"):
        program(variables, given)
    monkeypatch.undo()
    for attempt in (program, gx.compile(graph)):  # no program takes them
        with pytest.raises(gx.GraphError, match="half updated by a step that failed: load"):
            attempt(variables, given)
    untouched = gx.compile(models.build("lenet-5").select("logits"))
    with pytest.raises(gx.GraphError, match="half updated"):
        untouched(variables, image=given["image"])
    program(program.init(), given)


def test_a_failure_before_the_updates_does_not_tear(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = lenet()
    program = gx.compile(graph)
    variables = program.init()
    before, given = snapshot(variables), feed(graph, 2)
    real = np.matmul

    def failing(*args: Any, **options: Any) -> Any:
        raise ValueError("no product today")

    monkeypatch.setattr(np, "matmul", failing)
    with pytest.raises(gx.GraphError, match="(?s)conv2d.*no product today") as caught:
        program(variables, given)
    assert caught.value.nodes[0].op.name == "conv2d"
    assert "lenet.py:26" in caught.value.lines
    monkeypatch.setattr(np, "matmul", real)
    equal(variables, before)
    program(variables, given)


def test_check_finite_names_the_output() -> None:
    x = gx.input("x", ("N",))
    graph = gx.Graph({"fine": x, "y": gx.log(x)})
    program = gx.compile(graph, check_finite=True)
    program({}, x=[1.0, 2.0])
    with pytest.raises(gx.GraphError, match="the output 'y' is not finite: log"):
        program({}, x=[1.0, 0.0])
    assert np.isinf(gx.compile(graph)({}, x=[1.0, 0.0])["y"][1])


def test_check_finite_says_that_the_updates_happened() -> None:
    x = gx.input("x", ())
    w = gx.state("w", ())
    graph = gx.Graph({"y": gx.log(x)}, updates={w: w + x})
    program = gx.compile(graph, check_finite=True)
    variables = program.init()
    with pytest.raises(gx.GraphError, match="the step's updates have taken effect"):
        program(variables, x=-1.0)
    assert variables["w"] == -1


# -- init and the choice of a backend -------------------------------------------------------------


def test_init_depends_on_the_seed_and_the_name_alone() -> None:
    def net(first: str, second: str) -> gx.Graph:
        x = gx.input("x", ("N", 4))
        layers = {n: gx.parameter(n, (4, 4), init="normal") for n in (first, second)}
        return gx.Graph({"y": gx.matmul(gx.matmul(x, layers[first]), layers[second])})

    one, other = gx.compile(net("a", "b")), gx.compile(net("b", "a"))
    equal(one.init(seed=5), one.init(seed=5))
    assert not np.array_equal(one.init(seed=5)["a"], one.init(seed=6)["a"])
    assert not np.array_equal(one.init()["a"], one.init()["b"])
    for name in ("a", "b"):
        assert np.array_equal(one.init(seed=5)[name], other.init(seed=5)[name])


def test_init_gives_writable_arrays_of_the_declared_types() -> None:
    graph = everything()
    variables = gx.compile(graph).init(seed=2**64 - 1)
    for name, leaf in {**graph.parameters, **graph.states}.items():
        array = variables[name]
        assert array.dtype == leaf.dtype
        assert array.shape == leaf.shape
        assert array.flags.writeable
        assert array.flags.c_contiguous
    assert variables["random/seed"] == np.uint64(2**64 - 1)
    assert variables["random/seed"].dtype == np.uint64
    assert variables["step"].dtype == np.int64


@pytest.mark.parametrize("seed", [-1, 2**64, 1.0, "0", True, None])
def test_a_seed_that_is_none(seed: Any) -> None:
    with pytest.raises(gx.GraphError, match="seed="):
        gx.compile(accumulator()).init(seed=seed)


def test_the_backend_is_the_argument_then_the_environments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph = accumulator()
    monkeypatch.setenv("GRAPHC_BACKEND", "abacus")
    with pytest.raises(gx.GraphError, match=r"no backend 'abacus' here \(known: .*numpy"):
        gx.compile(graph)
    assert gx.compile(graph, backend="numpy").backend.name == "numpy"
    monkeypatch.setenv("GRAPHC_BACKEND", "numpy")
    assert gx.compile(graph).backend.name == "numpy"
    monkeypatch.delenv("GRAPHC_BACKEND")
    assert gx.compile(graph).backend.name == "numpy"
    with pytest.raises(gx.GraphError, match="no backend 'numppy'"):
        gx.compile(graph, backend="numppy")


@pytest.mark.parametrize("given", ["int64", "uint16", "bool", "float64", "float16", "uint8"])
def test_inputs_cast_as_numpys_same_kind(given: str) -> None:
    x = gx.input("x", (2,))
    program, value = gx.compile(gx.Graph({"y": x * 0.5})), np.array([0, 1], given)
    if given == "uint8":  # an image of bytes, most likely: NumPy would not ask
        with pytest.raises(gx.DTypeError, match=r"x.astype\('float32'\) / 255"):
            program({}, x=value)
        return
    assert np.can_cast(given, "float32", "same_kind")
    assert program({}, x=value)["y"].tolist() == [0.0, 0.5]
