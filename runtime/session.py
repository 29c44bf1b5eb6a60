"""Runs graphs on one device, in one precision."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from graph import Call, Graph, bind

from .cache.cache import Cache
from .cache.remember import Remembering, recall
from .capture import record_on_cuda
from .checkpoint import Checkpoint
from .compiler import Compiler, why_not_compiled
from .content.files import Files
from .evaluate import evaluate
from .events import CompileRefused, Event, Listen, RunFinished, RunStarted
from .memory.fit import Fitting
from .memory.ladder import Spared
from .memory.retry import Made, left_to_run, run_sparingly
from .memory.rungs import Saving
from .place import choose_device, choose_dtype, why_dtype
from .plan import PASSES, make_plan, plain, plan_together
from .provenance.record import Provenance, Record
from .writable import refuse_unwritable

IN_MEMORY: Any = object()
"""Stands for a cache of the session's own."""


class Session:
    """A machine to run graphs on: `Session(device="cpu")(load("sd15"), prompt="a lighthouse")`.

    `auto` takes the fastest device, and the fastest precision of the networks that is sound on it;
    the sample itself always stays float32. `listen` is told of every event of every run;
    `passes` are those of the plan (`runtime.plan.PASSES`), all unless some are to be left out;
    `each_node` has it told of every node inside loops, too, not of their steps and effects alone: a
    GPU then replays no recording of a loop's body;
    `cache` remembers what earlier runs made: by default in memory, None = nothing is remembered;
    `checkpoint` is told where loops stand, and where they begin;
    `memory` is what weights and tensors may take on the device, as `6GB`: where a plan would hold
    more, it is given measures against that; `savings` are such measures to take in any case;
    `compile` has the networks that loops call compiled, which changes the last bits: where that
    cannot be done, the reason is told.
    """

    def __init__(
        self,
        device: str = "auto",
        dtype: str = "auto",
        listen: Listen | None = None,
        passes: Iterable[str] = PASSES,
        each_node: bool = False,
        cache: Remembering | None = IN_MEMORY,
        checkpoint: Checkpoint | None = None,
        memory: str = "auto",
        savings: Iterable[Saving] = (),
        compile: bool = False,
    ) -> None:
        self.device = choose_device(device)
        self.dtype = choose_dtype(dtype, self.device)
        self.why = why_dtype(dtype, self.device)
        self.listen = listen
        wanted = (*passes, "compile") if compile else tuple(passes)
        self.not_compiled = why_not_compiled(self.device) if "compile" in wanted else ""
        self.passes = tuple(name for name in wanted if not self.not_compiled or name != "compile")
        self.compiler = Compiler(self._tell)
        self.checkpoint = checkpoint
        self.cache = Cache() if cache is IN_MEMORY else cache
        self.each_node = each_node
        self.record = record_on_cuda if self.device.type == "cuda" and not each_node else None
        self._planned: tuple[Graph, str, Spared] | None = None
        self.files = Files()
        self.fitting = Fitting(self.device, self.dtype, memory, savings)

    def __call__(self, graph: Graph, /, **inputs: Any) -> dict[str, Any]:
        """Run a graph and give its outputs by name.

        Raises GraphError where an input is unknown, missing or of the wrong type, or the weights
        cannot fit the device, and RunError where a node fails.
        """
        known = bind(graph, inputs)

        def prepare(spared: Spared) -> dict[str, Any]:
            provenance = self._provenance(graph, spared.plan, known, spared.savings, 1)
            machine = self._machine(provenance)
            if self.checkpoint:
                passes, savings = self.passes, spared.savings
                self.checkpoint.begin(graph, spared.plan, known, machine, passes, savings)
            return machine

        return self._run(graph, self._plan(graph, known), known, prepare, self.checkpoint)

    def together(self, graph: Graph, runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Run a graph with several sets of inputs at once, and give the outputs of each.

        What they share is done once, and calls of a network for single pictures are one call on a
        batch: last bits may differ from those of a run alone, and what is saved says so. Raises
        what a run raises, for all of them.
        """
        known = [bind(graph, inputs) for inputs in runs]
        whole, all_known = plan_together(graph, known, self.passes)

        def prepare(spared: Spared) -> dict[str, Any]:
            records = [
                self._provenance(
                    graph,
                    make_plan(graph, inputs, self.passes),
                    inputs,
                    _own(spared.savings, f"{number}/"),
                    len(runs),
                )
                for number, inputs in enumerate(known)
            ]

            def provenance(call: Call) -> Callable[[], Record]:
                number, _, name = call.name.partition("/")
                return records[int(number)](replace(call, name=name))

            return self._machine(provenance)

        outputs = self._run(graph, self.fitting.fit(whole, all_known), all_known, prepare)
        return [
            {name: outputs[f"{number}/{name}"] for name in graph.outputs}
            for number in range(len(runs))
        ]

    def _run(
        self,
        graph: Graph,
        spared: Spared,
        known: dict[str, Any],
        prepare: Callable[[Spared], dict[str, Any]],
        checkpoint: Checkpoint | None = None,
    ) -> dict[str, Any]:
        refuse_unwritable(spared.plan)
        begin = time.perf_counter()
        self._tell(RunStarted(graph.name, str(self.device), self.precision, self.why))
        if self.not_compiled:
            self._tell(CompileRefused(graph.name, self.not_compiled))
        for event in spared.told:
            self._tell(event)

        def run(spared: Spared, made: Made) -> dict[str, Any]:
            machine, (plan, found) = prepare(spared), left_to_run(spared.plan, made)
            keep = None
            if self.cache:
                remember = self.cache(spared.plan, known, machine)
                if isinstance(self.cache, Cache) and spared.left is not None:
                    self.cache.keep_at_most(spared.left)
                plan, remembered = recall(plan, remember)
                found, keep = found | remembered, remember.keep
            values, record = known | found, self.record
            return evaluate(
                plan, values, machine, self.listen, keep, record, checkpoint, self.each_node
            )

        outputs = run_sparingly(run, spared, self._free, self._tell)
        self._tell(RunFinished(time.perf_counter() - begin))
        return outputs

    def _free(self) -> int | None:
        """Let go of what is kept for other runs, and give the bytes that a run may have."""
        if isinstance(self.cache, Cache):
            self.cache.memory.clear()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return self.fitting.room

    @property
    def precision(self) -> str:
        """The precision of the networks, by its name."""
        return str(self.dtype).removeprefix("torch.")

    def _plan(self, graph: Graph, known: dict[str, Any]) -> Spared:
        """Plan a run, unless it is the one before once more."""
        depends_on = repr(plain(known))  # 1 == 1.0 == True, but their texts differ
        if self._planned is None or self._planned[0] is not graph or self._planned[1] != depends_on:
            plan = make_plan(graph, known, self.passes)
            self._planned = (graph, depends_on, self.fitting.fit(plan, known))
        return self._planned[2]

    def _provenance(
        self,
        graph: Graph,
        plan: Graph,
        known: dict[str, Any],
        savings: Sequence[Saving],
        batch: int,
    ) -> Provenance:
        machine = self.device, self.dtype
        return Provenance(graph, plan, known, *machine, self.passes, savings, self.files, batch)

    def _machine(self, provenance: Callable[[Call], Callable[[], Record]]) -> dict[str, Any]:
        return {
            "device": self.device, "dtype": self.dtype, "provenance": provenance,
            "compiler": self.compiler,
        }  # fmt: skip

    def _tell(self, event: Event) -> None:
        if self.listen:
            self.listen(event)


def _own(savings: Sequence[Saving], prefix: str) -> list[Saving]:
    """Give what was saved for one run of several, by the names that its calls have alone."""
    return [
        Saving(each.rung, each.call.removeprefix(prefix))
        for each in savings
        if each.call.startswith(prefix)
    ]
