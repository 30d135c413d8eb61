"""verify_plan finds what is wrong with a plan, and nothing where nothing is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest

import graphc as gx
from graphc.compiler.plan import (
    Call,
    Instruction,
    Linear,
    Place,
    Plan,
    Span,
    View,
)  # fmt: skip
from graphc.compiler.verify_plan import PlanError, verify_plan
from tests.compiler.nets import everything, lenet

# -- the plans ------------------------------------------------------------------------------------


def swap() -> gx.Graph:
    """Two states that change places."""
    x = gx.input("x", (3,))
    a, b = gx.state("a", (3,)), gx.state("b", (3,))
    return gx.Graph({"y": x + a * b}, updates={a: b, b: a})


def neighbours() -> gx.Graph:
    """y[i] = x[i] + x[i + 1]."""
    x = gx.relu(gx.input("x", (6,)))
    return gx.Graph({"y": x[:-1] + x[1:]})


def broadcast() -> gx.Graph:
    """A row is added to a square that has as many elements of the same type in each row."""
    x = gx.exp(gx.input("x", (4, 4)))
    row = gx.exp(gx.input("row", (1, 4)))
    return gx.Graph({"y": x * row, "z": gx.sum(row)})


NETS = {f.__name__: f for f in (lenet, everything, swap, neighbours, broadcast)}


@cache
def planned(net: str) -> tuple[Plan, gx.Graph]:
    graph = NETS[net]()
    symbolic = any(not isinstance(s, int) for node in graph.inputs.values() for s in node.shape)
    program = gx.compile(graph, verify=False, sizes={"N": 3} if symbolic else None)
    return program.plan, graph


# -- finding and changing parts of a plan ---------------------------------------------------------


def find(plan: Plan, function: str, label: str = "", nth: int = 0) -> int:
    """The number of the nth instruction that calls ``function`` for the node called ``label``."""
    hits = [
        i
        for i, line in enumerate(plan.instructions)
        if any(c.function == function for c in line.calls) and label in ("", line.label)
    ]
    return hits[nth]


def buffer(plan: Plan, label: str) -> int:
    """The number of the buffer with this label."""
    (number,) = (b.number for b in plan.buffers if b.label == label)
    return number


def lines(plan: Plan, new: list[Instruction]) -> Plan:
    return replace(plan, schedule=replace(plan.schedule, instructions=tuple(new)))


def without(plan: Plan, *numbers: int) -> Plan:
    return lines(plan, [x for i, x in enumerate(plan.instructions) if i not in numbers])


def moved(plan: Plan, number: int, to: int) -> Plan:
    new = list(plan.instructions)
    line = new.pop(number)
    new.insert(to, line)
    return lines(plan, new)


def placed(plan: Plan, number: int, place: Place | None) -> Plan:
    places = {**plan.places, number: place}
    return replace(plan, places={n: p for n, p in places.items() if p is not None})


def recalled(plan: Plan, number: int, change: Callable[[Call], Call], call: int = 0) -> Plan:
    new = list(plan.instructions)
    calls = list(new[number].calls)
    calls[call] = change(calls[call])
    new[number] = replace(new[number], calls=tuple(calls))
    return lines(plan, new)


def out_of(plan: Plan, number: int) -> int:
    """The buffer that an instruction writes."""
    out = plan.instructions[number].calls[-1].out
    assert out is not None
    return out.buffer


def argument(plan: Plan, number: int, which: int = 0) -> View:
    view = [a for a in plan.instructions[number].calls[0].args if isinstance(a, View)][which]
    return view


def scheduled(plan: Plan, **changes: object) -> Plan:
    return replace(plan, schedule=replace(plan.schedule, **changes))  # type: ignore[arg-type]


# -- faults ---------------------------------------------------------------------------------------

Fault = Callable[[Plan], Plan]
FAULTS: dict[str, tuple[str, str, Fault]] = {}  # name -> net, what the error says, the change


def fault(net: str, message: str) -> Callable[[Fault], Fault]:
    def add(change: Fault) -> Fault:
        FAULTS[change.__name__] = net, message, change
        return change

    return add


@fault("lenet", "something else took its memory")
def two_operands_in_one_place(plan: Plan) -> Plan:
    at = find(plan, "sub", "cross_entropy", nth=1)
    first, second = argument(plan, at, 0).buffer, argument(plan, at, 1).buffer
    return placed(plan, first, plan.places[second])


@fault("lenet", "something else took its memory|overwritten|still reads")
def overlap_by_one_element(plan: Plan) -> Plan:
    number = out_of(plan, find(plan, "matmul", "linear"))
    return placed(plan, number, Place("arena", plan.places[number].offset - 64))


@fault("lenet", "something else took its memory")
def reused_while_the_backward_pass_still_needs_it(plan: Plan) -> Plan:
    wide, narrow = buffer(plan, "relu_1"), buffer(plan, "linear_1: product1")
    return placed(plan, narrow, plan.places[wide])


@fault("lenet", r"the output 'logits' \(b\d+\) is overwritten before the end")
def output_reused(plan: Plan) -> Plan:
    late = max(b.number for b in plan.buffers if plan.places.get(b.root, Place(0)).space == "arena")
    return placed(plan, late, plan.places[buffer(plan, "linear_2")])


@fault("lenet", "before it is written")
def dropped_fill(plan: Plan) -> Plan:
    return without(plan, find(plan, "fill", "conv2d"))


@fault("lenet", "before it is written")
def dropped_product(plan: Plan) -> Plan:
    return without(plan, find(plan, "matmul", "conv2d"))


@fault("lenet", "no instruction of max_pool2d: .* reads b")
def dropped_loop_over_taps(plan: Plan) -> Plan:
    return without(plan, find(plan, "max", "max_pool2d"))


@fault("lenet", "no instruction of conv2d: .* reads b0")
def dropped_copy_of_the_image(plan: Plan) -> Plan:
    return without(plan, find(plan, "copy", "conv2d"))


@fault("everything", "before it is written")
def dropped_part_of_a_concat(plan: Plan) -> Plan:
    return without(plan, find(plan, "copy", "concat", nth=1))


@fault("lenet", r"no instruction of sub: .* reads b\d+")
def dropped_update(plan: Plan) -> Plan:
    return without(plan, len(plan.instructions) - 1)


@fault("lenet", "the output 'loss' .* is never written|before it is written")
def dropped_loss(plan: Plan) -> Plan:
    return without(plan, find(plan, "div", "cross_entropy"))


@fault("lenet", "before it is written")
def one_tap_short(plan: Plan) -> Plan:
    at = find(plan, "copy", "conv2d_1")
    new = list(plan.instructions)
    loops = new[at].loops
    new[at] = replace(new[at], loops=(replace(loops[0], extent=loops[0].extent - 1), *loops[1:]))
    return lines(plan, new)


@fault("lenet", "before it is written")
def reader_before_writer(plan: Plan) -> Plan:
    at = find(plan, "add", "linear")
    return moved(plan, at, at - 1)


@fault("lenet", "for nobody|has read it")
def fill_after_the_copy(plan: Plan) -> Plan:
    at = find(plan, "fill", "conv2d")
    return moved(plan, at, at + 1)


@fault("everything", "has read it")
def reader_before_the_last_part(plan: Plan) -> Plan:
    at = find(plan, "copy", "pad")
    return moved(plan, at, at + 1)


@fault("lenet", "something else took its memory")
def variable_written_before_a_reader(plan: Plan) -> Plan:
    update = find(plan, "sub", "sub_10")  # of fc3.weight
    reader = find(plan, "matmul", "matmul")  # the gradient that flows through it
    taken = [find(plan, f, n) for f, n in (("matmul", "matmul_5"), ("add", "add_9"))]
    before = [find(plan, "mul", "mul_19"), *taken, find(plan, "mul", "mul_20"), update]
    new = list(plan.instructions)
    chain = [new[i] for i in before]
    rest = [line for i, line in enumerate(new) if i not in before]
    at = rest.index(plan.instructions[reader])
    return lines(plan, [*rest[:at], *chain, *rest[at:]])


@fault("lenet", "before it is written")
def old_momentum_read_too_late(plan: Plan) -> Plan:
    return moved(plan, find(plan, "mul", "mul_11"), len(plan.instructions) - 1)


@fault("lenet", "overwrites b.* while it still reads it")
def product_in_place(plan: Plan) -> Plan:
    at = find(plan, "matmul", "linear_1")
    return placed(plan, out_of(plan, at), plan.places[argument(plan, at).buffer])


@fault("lenet", "overwrites b.* while it still reads it")
def reduction_in_place(plan: Plan) -> Plan:
    at = find(plan, "add_reduce", "sum_2")
    return placed(plan, out_of(plan, at), plan.places[argument(plan, at).buffer])


@fault("neighbours", "overwrites b.* while it still reads it")
def shifted_in_place(plan: Plan) -> Plan:
    at = find(plan, "add")
    return placed(plan, out_of(plan, at), plan.places[argument(plan, at, 1).buffer])


@fault("broadcast", "overwrites b.* while it still reads it")
def broadcast_in_place(plan: Plan) -> Plan:
    at = find(plan, "mul")
    row = argument(plan, at, 1).buffer
    late = without(plan, find(plan, "add_reduce"))
    late = lines(late, [*late.instructions, plan.instructions[find(plan, "add_reduce")]])
    return placed(late, out_of(plan, at), plan.places[row])


@fault("lenet", "overwrites b.* while it still reads it|took its memory")
def other_type_in_place(plan: Plan) -> Plan:
    at = find(plan, "gt", "gt")
    return placed(plan, out_of(plan, at), plan.places[argument(plan, at).buffer])


@fault("lenet", "leaves the buffer")
def window_off_by_one(plan: Plan) -> Plan:
    def change(call: Call) -> Call:
        (view,) = (a for a in call.args if isinstance(a, View))
        dims = tuple(
            replace(d, start=Linear(d.start.offset + 1, d.start.terms))
            if isinstance(d, Span)
            else d
            for d in view.dims
        )
        return replace(call, args=(replace(view, dims=dims),))

    return recalled(plan, find(plan, "copy", "conv2d_1"), change)


@fault("everything", "leaves the buffer|before it is written")
def part_of_a_concat_off_by_one(plan: Plan) -> Plan:
    def change(call: Call) -> Call:
        assert call.out is not None
        dims = tuple(
            replace(d, start=Linear(d.start.offset + 1)) if isinstance(d, Span) else d
            for d in call.out.dims
        )
        return replace(call, out=replace(call.out, dims=dims))

    return recalled(plan, find(plan, "copy", "concat"), change)


@fault("lenet", r"b\d+\(2,\) into b\d+\(16,\)")
def part_of_an_operand(plan: Plan) -> Plan:
    def change(call: Call) -> Call:
        first, *rest = call.args
        assert isinstance(first, View)
        dims = (Span(Linear(0), 2), *first.dims[1:])
        return replace(call, args=(replace(first, dims=dims), *rest))

    return recalled(plan, find(plan, "add", "add_2"), change)


@fault("lenet", "this reshape would copy")
def view_that_is_a_copy(plan: Plan) -> Plan:
    def change(call: Call) -> Call:
        first, *rest = call.args
        assert isinstance(first, View)
        dims = (*first.dims[:-1], Span(Linear(0), 4))
        return replace(call, args=(replace(first, dims=dims, shape=(96 * 4 * 5,)), *rest))

    return recalled(plan, find(plan, "matmul", "conv2d_1"), change)


@fault("lenet", "which does not exist")
def buffer_that_is_none(plan: Plan) -> Plan:
    return recalled(
        plan,
        find(plan, "relu", "relu"),
        lambda call: replace(call, args=(replace(call.args[0], buffer=999),)),  # type: ignore[type-var]
    )


@fault("lenet", "the outputs of the plan are")
def output_left_out(plan: Plan) -> Plan:
    return scheduled(plan, outputs=plan.schedule.outputs[1:])


@fault("lenet", "the outputs of the plan are")
def outputs_mixed_up(plan: Plan) -> Plan:
    (a, m), (b, n) = plan.schedule.outputs
    return scheduled(plan, outputs=((a, n), (b, m)))


@fault("lenet", r"nothing updates the variable 'conv1.weight'")
def update_left_out(plan: Plan) -> Plan:
    number = dict(plan.schedule.variables)["conv1.weight"]
    kept = tuple(pair for pair in plan.schedule.direct if pair[1] != number)
    copies = tuple(pair for pair in plan.schedule.copies if pair[0] != number)
    return scheduled(plan, direct=kept, copies=copies)


@fault("lenet", "its place is")
def update_beside_its_variable(plan: Plan) -> Plan:
    result, _ = plan.schedule.direct[-1]
    return placed(plan, result, Place("arena", plan.peak_bytes - 64 * 100))


@fault("lenet", "its place is|took its memory")
def update_in_another_variable(plan: Plan) -> Plan:
    names = dict(plan.schedule.variables)
    weight, momentum = names["fc1.bias"], names["sgd/fc1.bias/momentum"]
    (result,) = (r for r, v in plan.schedule.direct if v == weight)
    return placed(plan, result, Place(momentum))


@fault("swap", "is overwritten before the end")
def swap_without_a_copy_of_the_old_value(plan: Plan) -> Plan:
    a, b = (number for _, number in plan.schedule.variables)
    return scheduled(plan, copies=((a, b), (b, a)))


@fault("swap", "is updated twice")
def two_updates_of_one_variable(plan: Plan) -> Plan:
    (a, x), (b, y) = plan.schedule.copies
    return scheduled(plan, copies=((a, x), (b, y), (a, y)))


@fault("swap", "nothing updates the variable|reads it")
def half_a_swap(plan: Plan) -> Plan:
    return scheduled(plan, copies=plan.schedule.copies[:1])


@fault("swap", "nothing reads it|is never written")
def swap_of_an_unwritten_copy(plan: Plan) -> Plan:
    return without(plan, 0)


@fault("lenet", "writes b.*, but nothing reads it|reads b")
def view_of_another_buffer(plan: Plan) -> Plan:
    number = buffer(plan, "reshape_1")
    other = buffer(plan, "max_pool2d_1")
    buffers = tuple(replace(b, root=other) if b.number == number else b for b in plan.buffers)
    return scheduled(plan, buffers=buffers)


@fault("lenet", r"its place is arena")
def temporary_in_an_input(plan: Plan) -> Plan:
    return placed(plan, buffer(plan, "gt"), Place(buffer(plan, "image")))


@fault("lenet", r"its place is arena")
def temporary_in_a_variable(plan: Plan) -> Plan:
    return placed(plan, buffer(plan, "mul_12"), Place(buffer(plan, "fc1.weight")))


@fault("lenet", "has no place")
def no_place(plan: Plan) -> Plan:
    return placed(plan, buffer(plan, "relu"), None)


@fault("lenet", "does not fit its place")
def arena_too_small(plan: Plan) -> Plan:
    return replace(plan, peak_bytes=plan.peak_bytes - 64)


@fault("lenet", "does not fit its place|has no place")
def before_the_arena(plan: Plan) -> Plan:
    return placed(plan, buffer(plan, "max_pool2d"), Place("arena", -64))


@fault("lenet", "not an element of it")
def address_between_two_elements(plan: Plan) -> Plan:
    number = buffer(plan, "relu_3")
    return placed(plan, number, Place("arena", plan.places[number].offset + 2))


def writes_into(plan: Plan, number: int, target: int) -> Plan:
    def change(call: Call) -> Call:
        assert call.out is not None
        return replace(call, out=replace(call.out, buffer=target))

    return recalled(plan, number, change)


@fault("lenet", "which is given from outside")
def write_to_an_input(plan: Plan) -> Plan:
    return writes_into(plan, find(plan, "div", "cross_entropy"), buffer(plan, "lr"))


@fault("lenet", "which is given from outside")
def write_to_a_variable(plan: Plan) -> Plan:
    return writes_into(plan, find(plan, "add_reduce", "sum_2"), buffer(plan, "fc1.bias"))


@fault("lenet", "does not say whether it keeps a part")
def missing_partial_flag(plan: Plan) -> Plan:
    at = find(plan, "copy_where", "where")
    return recalled(plan, at, lambda call: replace(call, partial=False), call=1)


@fault("lenet", "does not say whether it keeps a part")
def partial_flag_on_a_whole_write(plan: Plan) -> Plan:
    return recalled(plan, find(plan, "relu"), lambda call: replace(call, partial=True))


@fault("lenet", "is not pointwise, but says so")
def product_called_pointwise(plan: Plan) -> Plan:
    return recalled(plan, find(plan, "matmul"), lambda call: replace(call, pointwise=True))


@fault("lenet", "which .* wrote for nobody")
def computed_twice(plan: Plan) -> Plan:
    at = find(plan, "gt", "gt_1")
    new = list(plan.instructions)
    new.insert(at, new[at])
    return lines(plan, new)


# -- tests ----------------------------------------------------------------------------------------


def test_enough_kinds_of_faults() -> None:
    assert len(FAULTS) >= 45


@pytest.mark.parametrize("name", FAULTS)
def test_a_seeded_fault_is_found(name: str) -> None:
    net, message, change = FAULTS[name]
    plan, graph = planned(net)
    verify_plan(plan, graph=graph)
    broken = change(plan)
    assert broken != plan
    with pytest.raises(PlanError, match=message):
        verify_plan(broken, graph=graph)


@pytest.mark.parametrize("net", NETS)
def test_no_line_can_be_left_out(net: str) -> None:
    """Every single line, label checks apart, is missed when it is dropped."""
    plan, graph = planned(net)
    escaped = []
    for number, line in enumerate(plan.instructions):
        if line.calls[0].function == "inside":
            continue  # it writes nothing
        try:
            verify_plan(without(plan, number), graph=graph)
        except PlanError:
            continue
        escaped.append(f"{number}: {line.label}")
    assert escaped == []


def dependent(plan: Plan) -> Iterator[int]:
    """Lines that write what the next line reads."""
    for number, (first, second) in enumerate(pairwise(plan.instructions)):
        written = {plan.buffers[v.buffer].root for v, w in first.views() if w}
        read = {plan.buffers[v.buffer].root for v, w in second.views() if not w}
        if written & read:
            yield number


@pytest.mark.parametrize("net", ["lenet", "everything"])
def test_no_line_can_come_before_what_it_reads(net: str) -> None:
    plan, graph = planned(net)
    found = list(dependent(plan))
    assert len(found) > 60
    for number in found:
        with pytest.raises(PlanError):
            verify_plan(moved(plan, number, number + 1), graph=graph)


def test_offsets_serve_every_smaller_batch() -> None:
    """One plan, all batches up to the one that it was made for; and no alarm at any."""
    for net, top, batches in ((lenet, 64, range(1, 65)), (everything, 13, (1, 2, 13))):
        graph = net()
        plan = gx.compile(graph, verify=False, sizes={"N": top}).plan
        assert plan.capacity == {"N": top}
        for n in batches:
            verify_plan(plan, {"N": n}, graph)


def test_a_larger_batch_is_not_served() -> None:
    plan, graph = planned("lenet")
    with pytest.raises(PlanError):
        verify_plan(plan, {"N": 4}, graph)


def test_every_compile_of_the_tests_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("graphc.compiler.program.verify_plan", lambda *a, **k: seen.append((a, k)))
    x = gx.input("x", ("N",))
    program = gx.compile(gx.Graph({"y": x * 2}))
    program({}, x=[1.0, 2.0, 3.0])
    assert len(seen) == 2  # the first plan, and the one for N = 3
