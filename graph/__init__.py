"""What a graph is: node types, graph files, and the check of one against the other."""

from .blocks import (
    Block,
    Call,
    Carry,
    Graph,
    GraphText,
    Input,
    ListOf,
    Literal,
    Loop,
    Reference,
    Value,
    references,
    values_of,
)
from .bundle import load_bundle, without_folder, without_folders
from .errors import Finding, GraphError, Place, did_you_mean, listed
from .files import shipped_graphs
from .inputs import bind, parse_inputs, parse_value
from .kinds import (
    Ambient,
    Kind,
    Sparing,
    Written,
    base_of,
    class_of,
    describe,
    fields_of,
    kinds_of,
    members,
)
from .load import load, load_text
from .node import (
    NodeType,
    Parameter,
    Reads,
    Registry,
    node,
    node_type,
    node_type_of,
    node_types,
    open_all_packs,
)
from .order import in_order
from .packs import pack_of
from .prune import has_effect, prune
from .schema import graph_schema, input_schema
from .sources import Source, came_from, digest_in_background, sources_of, user_cache
from .whole import write_whole
from .written import calls_of, written_inputs, written_values

__all__ = [
    "Ambient",
    "Block",
    "Call",
    "Carry",
    "Finding",
    "Graph",
    "GraphError",
    "GraphText",
    "Input",
    "Kind",
    "ListOf",
    "Literal",
    "Loop",
    "NodeType",
    "Parameter",
    "Place",
    "Reads",
    "Reference",
    "Registry",
    "Source",
    "Sparing",
    "Value",
    "Written",
    "base_of",
    "bind",
    "calls_of",
    "came_from",
    "class_of",
    "describe",
    "did_you_mean",
    "digest_in_background",
    "fields_of",
    "graph_schema",
    "has_effect",
    "in_order",
    "input_schema",
    "kinds_of",
    "listed",
    "load",
    "load_bundle",
    "load_text",
    "members",
    "node",
    "node_type",
    "node_type_of",
    "node_types",
    "open_all_packs",
    "pack_of",
    "parse_inputs",
    "parse_value",
    "prune",
    "references",
    "shipped_graphs",
    "sources_of",
    "user_cache",
    "values_of",
    "without_folder",
    "without_folders",
    "write_whole",
    "written_inputs",
    "written_values",
]
