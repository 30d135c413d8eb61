"""A program: a graph compiled for a backend, called like a function."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.compiler.binding import Array, Sizes, bind_inputs, bind_variables, failed, gather
from graphc.compiler.bound import BoundProgram, bind
from graphc.compiler.initial import initial_variables
from graphc.compiler.lower import group, legalize, order
from graphc.compiler.memory import plan_memory
from graphc.compiler.plan import Plan
from graphc.compiler.profile import Profile, profile
from graphc.compiler.registry import backend_of
from graphc.compiler.verify_plan import verify_plan
from graphc.ir.errors import BackendError, GraphError
from graphc.ir.graph import Graph
from graphc.ir.naming import suggest
from graphc.ir.node import Node, describe

# Arrays that a failed step left half updated: no program takes them again.
_torn: weakref.WeakValueDictionary[int, Array] = weakref.WeakValueDictionary()
_BINDINGS = 4  # how many (sizes, variables) pairs keep their views


@dataclass
class _Binding:
    """A loaded step on the memory of certain arrays. A backend that copies inputs while it still
    computes has several lanes, which take turns: inputs of their own, and the step on them."""

    variables: tuple[Array, ...]
    lanes: list[tuple[tuple[Array, ...], Any]]
    turn: int = 0

    def next(self) -> tuple[tuple[Array, ...], Any]:
        """The lane whose turn it is."""
        self.turn = (self.turn + 1) % len(self.lanes)
        return self.lanes[self.turn]


class Program:
    """A compiled graph: ``program(variables, image=x, label=y)`` runs one step.

    Attributes: ``graph``; ``source``, the text that runs, which a person can read and NumPy can run
    alone; ``plan`` (``.peak_bytes``, ``.instructions``, ``.buffers``, ``.launches``).
    """

    def __init__(
        self,
        graph: Graph,
        backend: Any,
        *,
        memory_limit: int | None = None,
        check_finite: bool = False,
        reuse_outputs: bool = False,
        poison: bool = False,
        verify: bool = False,
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        self.graph = graph
        self.backend = backend
        self._memory_limit = memory_limit
        self._check_finite = check_finite
        self._reuse_outputs = reuse_outputs
        self._poison = poison
        self._verify = verify
        self._lock = threading.RLock()
        names = sorted({name for g in graph.inputs.values() for name in _names(g)})
        with _no_collections():
            ordered = order(graph, group(graph, legalize(graph)))
            self._schedule = backend.schedule(graph, ordered)
            self._replan({**_smallest(graph, names), **_checked(sizes or {}, names)})

    # -- planning -----------------------------------------------------------------------------

    def _replan(self, capacity: Sizes) -> None:
        """Plan for these sizes; whatever was bound is forgotten."""
        plan = plan_memory(self._schedule, dict(sorted(capacity.items())), self.backend.alignment)
        # The first plan is for sizes of 1, where a window may not fit: no call can have them.
        if self._verify and all(guard.holds(capacity) for guard in self.graph.guards):
            verify_plan(plan, graph=self.graph)
        if self._memory_limit is not None and plan.peak_bytes > self._memory_limit:
            raise BackendError(
                f"the plan needs {plan.peak_bytes:,} bytes at {capacity or 'its size'}, more than "
                f"memory_limit={self._memory_limit:,}: use a smaller batch"
            )
        self._plan = plan
        self._printed: Any = None
        self._bind: Any = None
        self._arena: Any = None
        self._bindings: dict[Any, _Binding] = {}
        self._served: set[tuple[int, ...]] = set()  # sizes that this plan is known to serve

    @property
    def plan(self) -> Plan:
        """The plan for the largest sizes seen so far."""
        return self._plan

    @property
    def source(self) -> str:
        """The printed step. Saved to a file, it runs with NumPy alone, for sizes up to those of
        ``plan.capacity``: the largest that the program was called or compiled for.
        """
        return str(self._text().source)

    @property
    def source_nodes(self) -> dict[int, Node]:
        """The node behind each line of ``source`` that computes something; lines from 1."""
        instructions = self._plan.instructions
        lines = self._text().lines.items()
        return {line: instructions[i].node for line, i in lines if i < len(instructions)}

    def _text(self) -> Any:
        with self._lock:
            if self._printed is None:
                with _no_collections():
                    self._printed = self.backend.print(
                        self._plan, poison=self._poison, reuse_outputs=self._reuse_outputs
                    )
            return self._printed

    def _fits(self, sizes: Sizes) -> bool:
        """Whether the plan serves these sizes: no buffer is larger than it was planned."""
        key, capacity = tuple(sizes.values()), self._plan.capacity
        if key in self._served:
            return True
        if any(capacity[name] < size for name, size in sizes.items()):
            return False
        # A size such as H - W may grow where H and W shrink.
        if sizes == capacity or all(
            b.bytes(sizes) <= b.bytes(capacity) for b in self._plan.buffers
        ):
            self._served.add(key)
            return True
        return False

    # -- variables ----------------------------------------------------------------------------

    def init(self, seed: int = 0) -> dict[str, Array]:
        """Fresh variables: every parameter and state by name, ``random/seed`` and ``step``.

        Each initial value depends on the seed and the parameter's own name alone.
        Raises GraphError for a seed outside [0, 2⁶⁴).

        >>> import graphc as gx
        >>> w = gx.parameter("w", (2,), init=0.5)
        >>> gx.compile(gx.Graph({"w": w})).init(seed=1)["w"]
        array([0.5, 0.5], dtype=float32)
        """
        fresh = initial_variables(self.graph, seed)
        return {name: self.backend.from_host(array) for name, array in fresh.items()}

    # -- running ------------------------------------------------------------------------------

    def __call__(
        self, variables: dict[str, Array], /, inputs: Mapping[str, Any] | None = None, **named: Any
    ) -> dict[str, Array]:
        """Run one step: returns the outputs, overwrites the updated ``variables`` in place.

        variables: name to array, as ``init`` gives; may hold more than is needed. inputs (or
        keywords): input name to array. The outputs are fresh arrays that the caller owns.
        Raises GraphError, ShapeError or DTypeError before anything runs where something does not
        fit. After a failure inside the updates the variables are torn, and refused from then on.
        """
        arrays, sizes = bind_inputs(self.graph, gather(inputs, named), self.backend.holds)
        held = self._variables(variables)
        with self._lock:
            if not self._fits(sizes):
                merged = {n: max(s, self._plan.capacity[n]) for n, s in sizes.items()}
                self._replan(merged)
                if not self._fits(sizes):  # a size that shrinks where a name grows
                    self._replan(sizes)
            try:
                binding = self._binding(tuple(held.values()), sizes)
            except Exception as error:
                self.backend.translate(error, None, False)
                raise
            outputs = self._run(binding, tuple(arrays.values()), sizes)
        named_outputs = dict(zip(self.graph.outputs, outputs, strict=True))
        if self._check_finite:
            self._finite(named_outputs)
        return named_outputs

    def bind(self, variables: Mapping[str, Array]) -> BoundProgram:
        """This program with its variables: ``bound(image=x)`` needs inputs alone.

        What depends on variables alone (a folded ``batch_norm``, a scaled weight) is computed now,
        once. Later changes of ``variables`` are not seen: bind again.
        Raises GraphError where the graph has updates (apply ``passes.inference()`` first), or where
        the variables do not fit.

        >>> import graphc as gx
        >>> x, w = gx.input("x", ("N",)), gx.parameter("w", (), init=2)
        >>> program = gx.compile(gx.Graph({"y": x * gx.square(w)}))
        >>> bound = program.bind(program.init())
        >>> bound(x=[1.0])["y"], [node.op.name for node in bound.graph.nodes]
        (array([4.], dtype=float32), ['input', 'state', 'mul'])
        """
        return bind(self, self._variables(variables))

    def profile(
        self, variables: dict[str, Array], /, inputs: Mapping[str, Any] | None = None, **named: Any
    ) -> Profile:
        """Where the time of a step on these inputs goes, by node and by the user's lines.

        Runs the printed step a few times with a look at the clock after each line, on copies:
        ``variables`` stay as they are. The nodes' seconds and ``.rest`` add up to ``.seconds``, the
        fastest step of those. Raises what a call raises, and BackendError where the backend prints
        no Python.

        >>> import graphc as gx
        >>> x = gx.input("x", ("N",))
        >>> program = gx.compile(gx.Graph({"y": gx.exp(x) * 2}))
        >>> sorted(each.name for each in program.profile({}, x=[1.0, 2.0]))
        ['exp', 'mul']
        """
        return profile(self, variables, gather(inputs, named))

    def like(self, graph: Graph, sizes: Mapping[str, int] | None = None) -> Program:
        """Another graph compiled as this one was, with room for ``sizes`` from the start."""
        return Program(
            graph,
            self.backend,
            memory_limit=self._memory_limit,
            check_finite=self._check_finite,
            reuse_outputs=self._reuse_outputs,
            poison=self._poison,
            verify=self._verify,
            sizes=sizes,
        )

    def _variables(self, variables: Mapping[str, Any]) -> dict[str, Array]:
        held = bind_variables(self.graph, variables, backend=self.backend)
        for name, array in held.items():
            if _torn.get(id(array)) is array:
                raise GraphError(
                    f"the variable {name!r} was left half updated by a step that failed: load the "
                    "variables again from a checkpoint, or start from program.init(seed=0)"
                )
        return held

    def _binding(self, variables: tuple[Array, ...], sizes: Sizes) -> _Binding:
        key = (tuple(sizes.values()), tuple(map(id, variables)))
        found = self._bindings.get(key)
        if found is not None:
            return found
        if self._bind is None:
            loaded = self.backend.load(self._text())
            self._arena = self.backend.arena(self._plan, poison=self._poison)
            self._bind = loaded  # last: what failed on the way is tried again
        shapes = [(n.type.concrete(sizes), n.dtype) for n in self.graph.inputs.values()]
        numbers = [sizes[name] for name in self._plan.capacity]
        lanes = []
        for _ in range(self.backend.lanes):
            inputs = self.backend.inputs(shapes)
            lanes.append((inputs, self._bind(self._arena, inputs, variables, *numbers)))
        while len(self._bindings) >= _BINDINGS:
            del self._bindings[next(iter(self._bindings))]
        self._bindings[key] = _Binding(variables, lanes)
        return self._bindings[key]

    def _run(self, binding: _Binding, arrays: tuple[Array, ...], sizes: Sizes) -> Any:
        inputs, step = binding.next()
        try:
            self.backend.feed(self._text(), inputs, arrays, sizes)
            with self.backend.limits():
                return step()
        except BaseException as error:
            node, torn = self._blame(error)
            if torn:
                updated = set(self.graph.updates)
                for name, array in zip(
                    {**self.graph.parameters, **self.graph.states}, binding.variables, strict=True
                ):
                    if name in updated:
                        _torn[id(array)] = array
            if isinstance(error, ValueError) and node is not None:
                raise failed(node, error) from None
            self.backend.translate(error, node, torn)
            raise

    def _blame(self, error: BaseException) -> tuple[Node | None, bool]:
        """The node whose line of the step failed, and whether updates had begun."""
        printed = self._text()
        lines = getattr(error, "step_lines", None)  # of a part that ran as one
        if isinstance(lines, tuple):
            return None, bool(self.graph.updates) and lines[1] >= printed.first_update
        trace = error.__traceback__
        while trace is not None:
            if (
                trace.tb_lineno in printed.lines
                and "graphc step" in trace.tb_frame.f_code.co_filename
            ):
                number = printed.lines[trace.tb_lineno]
                node = (
                    self._plan.instructions[number].node
                    if number < len(self._plan.instructions)
                    else None
                )
                torn = bool(self.graph.updates) and trace.tb_lineno >= printed.first_update
                return node, torn
            trace = trace.tb_next
        return None, False

    def _finite(self, outputs: Mapping[str, Array]) -> None:
        for name, array in outputs.items():
            if array.dtype.kind == "f" and not np.isfinite(self.backend.to_host(array)).all():
                node = self.graph.outputs[name]
                after = "; the step's updates have taken effect" if self.graph.updates else ""
                raise GraphError(
                    f"the output {name!r} is not finite: {describe(node)}{after}", nodes=[node]
                )

    def __repr__(self) -> str:
        return f"<graphc.Program of {self.graph!r} for {self.backend.name}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """What a notebook shows: the plan in one line, and the source to unfold."""
        from graphc.ir.display import program_bundle

        return program_bundle(repr(self), str(self.plan).splitlines()[0], self.source)


@contextmanager
def _no_collections() -> Iterator[None]:
    """A schedule is many small objects that all stay: looking for garbage among them finds none,
    and takes as long as the work."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _smallest(graph: Graph, names: list[str]) -> Sizes:
    """What the first plan is made for: small sizes at which every guard holds, if any are found."""
    candidates = [dict.fromkeys(names, size) for size in range(1, 65)]
    held = (s for s in candidates if all(guard.holds(s) for guard in graph.guards))
    return next(held, candidates[0])


def _checked(sizes: Mapping[str, int], names: list[str]) -> Sizes:
    """The sizes to plan for from the start, as the caller gives them."""
    for name, size in sizes.items():
        if name not in names:
            raise GraphError(f"sizes: the graph has no dimension {name!r}{suggest(name, names)}")
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise GraphError(f"sizes: {name}={size!r} must be an int of at least 1")
    return dict(sizes)


def _names(node: Node) -> frozenset[str]:
    from graphc.ir.dims import names

    return names(node.shape)


def compile(
    graph: Graph,
    backend: str | None = None,
    *,
    exact: bool = False,
    threads: int | None = None,
    memory_limit: int | None = None,
    check_finite: bool = False,
    tune: bool = False,
    reuse_outputs: bool = False,
    poison: bool = False,
    verify: bool | None = None,
    sizes: Mapping[str, int] | None = None,
    **options: Any,
) -> Program:
    """Compile ``graph`` for a backend.

    backend: a name; left out, the environment's GRAPHC_BACKEND, else ``"numpy"``. exact: only
    algorithms whose sums are those of the definition, each in one fixed order. threads: BLAS
    threads, part of the plan, since the last bits depend on it (default 1). memory_limit: bytes of
    the arena. check_finite: raise where an output is not finite. reuse_outputs: outputs are views
    that stay valid until the next call, not copies. poison: fill dead memory with NaN. verify:
    check the plan by ``verify_plan`` (default: where GRAPHC_VERIFY_PLAN is set). sizes: plan memory
    for these values of the named dimensions from the start (it grows with the calls by itself).
    options: those of the backend itself, as ``capture=False`` for ``"cupy"``.
    Raises GraphError for an unknown backend, BackendError where it cannot compute the graph.

    >>> import graphc as gx
    >>> x = gx.input("x", ("N",))
    >>> program = gx.compile(gx.Graph({"y": x * 2}))
    >>> program({}, x=[1.0, 2.0])["y"]
    array([2., 4.], dtype=float32)
    """
    if not isinstance(graph, Graph):
        raise GraphError(f"compile takes a gx.Graph, not a {type(graph).__name__}")
    del tune  # nothing is measured yet
    if exact:
        options["exact"] = True
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise GraphError(f"threads={threads!r} must be an int of at least 1")
    return Program(
        graph,
        backend_of(backend, threads, options),
        memory_limit=memory_limit,
        check_finite=check_finite,
        reuse_outputs=reuse_outputs,
        poison=poison,
        verify=bool(os.environ.get("GRAPHC_VERIFY_PLAN")) if verify is None else verify,
        sizes=sizes,
    )
