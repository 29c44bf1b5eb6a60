"""From a checked graph to what its picture shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from ..blocks import Block, Call, Graph, ListOf, Literal, Loop, Reference, Value
from ..edges import Edges, type_of
from ..kinds import describe, item_type
from ..node import Parameter
from .drafts import DraftBox, DraftFrame, connect, written_in
from .groups import group_names
from .scene import Back, Detail, End, Facts, Port, Scene, Setting
from .words import (
    clipped,
    first_sentence,
    hue_of,
    is_plain,
    place_words,
    source_words,
    value_words,
)

OTHER = "value"
"""The colour of what has none of its own."""


def scene_of(graph: Graph, facts: Facts | None = None) -> Scene:
    """Say what the picture of a graph shows, with what is known of it beside its text."""
    known = facts or Facts()
    root = _Builder(graph, known).build()
    values = {name: entry.default for name, entry in graph.inputs.items() if not entry.required}
    values |= known.values
    inputs = [
        (name, clipped(value_words(values[name]), 44) if name in values else "")
        for name, entry in graph.inputs.items()
        if is_plain(entry.annotation)
    ]
    return Scene(graph.name, first_sentence(graph.doc), tuple(inputs), known.total, root.finish())


class _Builder:
    def __init__(self, graph: Graph, facts: Facts) -> None:
        self.graph, self.facts = graph, facts
        self.edges = Edges({}, [])
        self.homes: dict[str, DraftFrame] = {}
        self.boxes: dict[str, DraftBox] = {}
        self.starts: dict[str, Value] = {}
        self.values = {name: it.default for name, it in graph.inputs.items() if not it.required}
        self.values |= facts.values

    def build(self) -> DraftFrame:
        root = DraftFrame("", self.graph.name, None)
        for name, entry in self.graph.inputs.items():
            self.edges.types[name] = entry.annotation
            if not is_plain(entry.annotation):
                detail = Detail(name, entry.help, (("input", describe(entry.annotation)),),
                                place_words(entry.place), entry.place.excerpt)  # fmt: skip
                self.variable(root.entries, name, name, root, detail)
        self.learn(self.graph.blocks)
        self.place(self.graph.blocks, "", root)
        self.wire(self.graph.blocks)
        for name, value in self.graph.outputs.items():
            detail = Detail(name, "", (("output", source_words(value)),))
            box = self.variable(root.exits, f".{name}", name, root, detail)
            self.feed(value, box, "in", root)
        return root

    def learn(self, blocks: Iterable[Block]) -> None:
        """Note the type of everything that has a name."""
        for block in blocks:
            if isinstance(block, Loop):
                for key, value in block.sequences.items():
                    self.edges.types[block.variable(key)] = item_type(self.type_of(value)) or Any
                for key, carry in block.carry.items():
                    self.edges.types[block.variable(key)] = block.result[key]
                    self.starts[block.variable(key)] = carry.start
                self.learn(block.body)
            self.edges.types[block.name] = block.result

    def type_of(self, value: Value) -> Any:
        return type_of(value, self.edges)

    def place(self, blocks: Sequence[Block], prefix: str, frame: DraftFrame) -> None:
        """Put blocks into a frame, those of a subgraph into a frame of their own."""
        groups = group_names(blocks, prefix)
        for name in dict.fromkeys(groups.values()):
            inside = [block for block in blocks if groups.get(block.name) == name]
            own = [
                block.place.file for block in inside if block.name.count("/") == name.count("/") + 1
            ]
            file = PurePath(own[0]).name if own else ""
            inner = DraftFrame(name, name.removeprefix(prefix), frame, subtitle=file)
            inner.detail = Detail(f"{name}: a subgraph", "", (("file", file),))
            frame.items[name] = inner
            self.place(inside, f"{name}/", inner)
        for block in blocks:
            if block.name in groups:
                continue
            title = block.name.removeprefix(prefix)
            if isinstance(block, Loop):
                self.loop(block, title, frame)
            else:
                self.call(block, title, frame)

    def variable(
        self,
        side: dict[str, DraftBox],
        name: str,
        title: str,
        home: DraftFrame,
        detail: Detail | None,
    ) -> DraftBox:
        box = DraftBox(name, title, "variable", detail=detail)
        side[name] = self.boxes[name] = box
        self.homes[name] = home
        return box

    def call(self, call: Call, title: str, frame: DraftFrame) -> None:
        note = self.facts.costs.get(call.name, "")
        if call.name in self.facts.twins:
            note = f"made once, with {self.facts.twins[call.name]}"
        rows = [(key, self.told(value)) for key, value in call.arguments.items()]
        rows += [(word, self.told(value)) for word, value in
                 (("when", call.when), ("else", call.otherwise)) if value]  # fmt: skip
        shape = self.facts.shapes.get(call.name, "")
        rows.append(("gives", " ".join(filter(None, (describe(call.result), shape)))))
        rows += [("cost", note)] if note else []
        detail = Detail(
            f"{call.name}: {call.node.name}", call.node.doc, tuple(rows),
            place_words(call.place), call.place.excerpt,
        )  # fmt: skip
        box = DraftBox(
            call.name, title, "call", node=call.node.name, note=note,
            conditional=call.when is not None, detail=detail,
        )  # fmt: skip
        frame.items[call.name] = self.boxes[call.name] = box
        self.homes[call.name] = frame

    def loop(self, loop: Loop, title: str, frame: DraftFrame) -> None:
        inner = DraftFrame(loop.name, title, frame, is_loop=True)
        walked = ", ".join(f"{key} of {source_words(v)}" for key, v in loop.sequences.items())
        steps = self.facts.steps.get(loop.name)
        inner.subtitle = f"{steps} steps" if steps else f"for each {next(iter(loop.sequences))}"
        rows = [("for each", walked)]
        rows += [("carries", f"{key} from {source_words(carry.start)}, then"
                  f" {source_words(carry.then)}") for key, carry in loop.carry.items()]  # fmt: skip
        rows += [("steps", str(steps))] if steps else []
        place = place_words(loop.place)
        inner.detail = Detail(f"{loop.name}: a loop", "", tuple(rows), place, loop.place.excerpt)
        frame.items[loop.name] = inner
        self.homes[loop.name] = frame
        for key in (*loop.sequences, *loop.carry):
            what = "carried from step to step" if key in loop.carry else "walked over"
            detail = replace(inner.detail, heading=f"{loop.name}: {key}, {what}")
            self.variable(inner.entries, loop.variable(key), key, inner, detail)
        for key in (*loop.collect, *loop.carry):
            what = "carried from step to step" if key in loop.carry else "kept of every step"
            detail = replace(inner.detail, heading=f"{loop.name}: {key}, {what}")
            self.variable(inner.exits, f"{loop.name}.{key}", key, inner, detail)
        if loop.until:
            self.variable(inner.exits, f"{loop.name}.until", "until", inner, inner.detail)
        self.place(loop.body, f"{loop.name}/", inner)

    def wire(self, blocks: Iterable[Block]) -> None:
        """Draw what flows into every block."""
        for block in blocks:
            home = self.homes[block.name]
            if isinstance(block, Call):
                given = {key: value for key, value in block.arguments.items()
                         if not _says_nothing(value, block.node.parameters[key])}  # fmt: skip
                given |= {"when": block.when} if block.when else {}
                given |= {"else": block.otherwise} if block.otherwise else {}
                for key, value in given.items():
                    self.feed(value, self.boxes[block.name], key, home)
                continue
            starts = {key: carry.start for key, carry in block.carry.items()}
            for key, value in (block.sequences | starts).items():
                name = block.variable(key)
                self.feed(value, self.boxes[name], name, home, End(block.name, name))
            self.wire(block.body)
            inner = self.homes[block.variable(next(iter(block.sequences)))]
            ends = {key: carry.then for key, carry in block.carry.items()} | block.collect
            ends |= {"until": block.until} if block.until else {}
            for key, value in ends.items():
                self.feed(value, self.boxes[f"{block.name}.{key}"], "in", inner)
            for key in block.carry:
                kind = describe(block.result[key])
                hue = hue_of(kind, self.facts.hues, OTHER)
                words = f"{key} for the next step: {kind}"
                inner.backs.append(
                    Back(f"{block.name}.{key}", block.variable(key), hue, words)
                )  # fmt: skip

    def feed(
        self, value: Value, box: DraftBox, key: str, home: DraftFrame, end: End | None = None
    ) -> None:
        """Let a value flow into a port: by a wire, or as a setting written on the box."""
        if isinstance(value, ListOf):
            for number, item in enumerate(value.items, 1):
                inner = f"{key} {number}"
                self.feed(item, box, inner, home, end and End(end.box, inner))
            return
        if isinstance(value, Literal):
            words = clipped(value_words(value.value))
            box.settings.append(Setting(self.label(key, box), words, is_input=False))
            return
        entry = self.graph.inputs.get(value.name)
        if entry and is_plain(entry.annotation):
            box.settings.append(Setting(self.label(key, box), value.name, is_input=True))
            return
        start, source, port = self.source(value)
        label, origin = self.label(key, box), written_in(home, value)
        box.inputs[key] = Port(key, label, port.kind, port.hue, "", origin)
        shape = f" {port.shape}" if port.shape else ""
        words = f"{source_words(value)[1:]} → {box.name}: {port.kind}{shape}"
        connect((start, source), (home, end or End(box.name, key)), port, words)

    def label(self, key: str, box: DraftBox) -> str:
        """Name a port; what is a variable has the name of its box."""
        return key if box.role == "call" else ""

    def source(self, reference: Reference) -> tuple[DraftFrame, End, Port]:
        """Find the frame, the end and the port that a reference flows from; add the port."""
        name, fields, frame = reference.name, reference.fields, self.homes[reference.name]
        kind = describe(self.type_of(reference))
        shape = self.shape(reference)
        hue = hue_of(kind, self.facts.hues, OTHER)
        if name in self.boxes:
            box, key = self.boxes[name], ".".join(fields) or "out"
            end = End(name, key)
        else:  # a loop, by one of its carries or lists
            box, fields = self.boxes[f"{name}.{fields[0]}"], fields[1:]
            key = ".".join((box.name, *fields))
            end = End(name, key)
        whole = kind if box.role == "call" else ""
        box.outputs[key] = Port(key, ".".join(fields) or whole, kind, hue, shape)
        return frame, end, box.outputs[key]

    def shape(self, reference: Reference) -> str:
        """Look up the shape of a value; what a loop carries has that of its start."""
        name, fields = reference.name, reference.fields
        start = self.starts.get(name)
        if start is None and fields and f"{name}/{fields[0]}" in self.starts:
            start, fields = self.starts[f"{name}/{fields[0]}"], fields[1:]
        if isinstance(start, Reference):
            return self.shape(replace(start, fields=start.fields + fields))
        return self.facts.shapes.get(".".join((name, *fields)), "")

    def told(self, value: Value) -> str:
        """Write what flows into a port, and what an input is set to."""
        words = clipped(source_words(value), 60)
        if isinstance(value, Reference) and value.name in self.values:
            return f"{words}: {clipped(value_words(self.values[value.name]), 60)}"
        return words


def _says_nothing(value: Value, parameter: Parameter) -> bool:
    """Tell whether a null only says that a parameter is not used, as a subgraph's input does."""
    unused = not parameter.required and parameter.default is None
    return unused and isinstance(value, Literal) and value.value is None
