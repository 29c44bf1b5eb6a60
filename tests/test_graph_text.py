"""YAML's traps stay closed, and everything knows its place."""

from __future__ import annotations

import pytest

from graph.errors import GraphError
from graph.text import COUNT_LIMIT, SIZE_LIMIT, Mapping, Scalar, find, key_place, plain, read


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("True", "True"),
        ("true", True),
        ("false", False),
        ("~", None),
        ("null", None),
        ("Null", "Null"),
        ("", None),
        ("010", "010"),
        ("0o17", "0o17"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("0", 0),
        ("-3", -3),
        ("+3", 3),
        ("٣", "٣"),
        ("1e-5", 1e-5),
        ("1.0e-5", 1e-5),
        ("1E5", 1e5),
        ("1.10", 1.1),
        (".5", 0.5),
        ("1.", 1.0),
        (".", "."),
        ("e5", "e5"),
        (".inf", ".inf"),
        ("12:30", "12:30"),
        ("190:20:30.15", "190:20:30.15"),
        ("2024-01-02", "2024-01-02"),
        ("1.2.3", "1.2.3"),
        ('"3"', "3"),
        ("'true'", "true"),
        ("$x.y", "$x.y"),
        ("$$5", "$$5"),
        ("#nature", None),
        ("=", "="),
        ("9" * 2000, "9" * 2000),
    ],
)
def test_scalars(written: str, value: object) -> None:
    tree = read(f"a: {written}\n", "g.yaml")
    found = plain(tree)["a"]
    assert found == value
    assert type(found) is type(value)


def test_empty_is_not_null() -> None:
    tree = read("{a: , b: ~, c: null, d: ''}", "g.yaml")
    assert isinstance(tree, Mapping)
    empty = {name: isinstance(item, Scalar) and item.empty for name, item in tree.entries.items()}
    assert empty == {"a": True, "b": False, "c": False, "d": False}


def test_places_count_characters_from_one() -> None:
    tree = read('a:\n  "🙂": {b: [1, x]}\n', "g.yaml")
    assert str(find(tree, ("a", "🙂", "b", 1)).place) == "g.yaml:2:16"
    assert str(key_place(tree, ("a", "🙂", "b"))) == "g.yaml:2:9"
    assert str(key_place(tree, ("a", "🙂", "missing"))) == "g.yaml:2:8"
    assert find(tree, ("a",)).place.excerpt == '  "🙂": {b: [1, x]}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "g.yaml:1:1: the file is empty"),
        ("# only a comment", "g.yaml:1:1: the file is empty"),
        ("a: 1\na: 2", "g.yaml:2:1: 'a' is given twice, first in line 1"),
        ("a: &x 1", "g.yaml:1:4: '&x': anchors and aliases are not part of graph files"),
        ("a: *x", "g.yaml:1:4: '*x': anchors and aliases are not part of graph files"),
        ("<<: {}", "g.yaml:1:1: '<<': merge keys are not part of graph files"),
        ("a: !!python/name:os.system x", "g.yaml:1:4: '!!python/name:os.system': tags are not"),
        ("a: !!int 3", "g.yaml:1:4: '!!int': tags are not part of graph files"),
        ("a: ! 3", "g.yaml:1:4: '!': tags are not part of graph files"),
        ("1: x", "g.yaml:1:1: a name must be text"),
        ("true: x", "g.yaml:1:1: a name must be text"),
        ("? [a]\n: x", "g.yaml:1:3: a name must be text"),
        ("? {a: 1}\n: x", "g.yaml:1:3: a name must be text"),
        ('a: "\\ud83d"', "g.yaml:1:4: this text holds half of a character (a lone surrogate)"),
        ("a: 1\n---\nb: 1", "g.yaml:2:1: a file holds one document"),
        ("a: b: c", "g.yaml:1:5: this is not YAML: mapping values are not allowed here"),
        ("a: [1", "g.yaml:1:6: this is not YAML: expected ',' or ']'"),
        ("a: [x] y", "g.yaml:1:8: this is not YAML: expected <block end>"),
        ("a: @x", "g.yaml:1:4: this is not YAML: found character '@'"),
        ("a: \x00", "g.yaml:1:4: the character 0x0000 is not allowed in YAML"),
        ("a: " + "[" * 100, "g.yaml:1:67: this is nested more than 64 deep"),
        ("x" * (SIZE_LIMIT + 1), "g.yaml:1:1: the file is larger than 1,000,000 characters"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(GraphError) as caught:
        read(text, "g.yaml")
    assert str(caught.value).startswith(message)


def test_refusals_are_told_together() -> None:
    with pytest.raises(GraphError) as caught:
        read("a: &x 1\nb: 2\nb: 3\nc: !t 4\n", "g.yaml")
    assert [finding.place.line for finding in caught.value.findings if finding.place] == [1, 3, 4]


def test_count_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert COUNT_LIMIT == 100_000
    monkeypatch.setattr("graph.text.COUNT_LIMIT", 10)
    with pytest.raises(GraphError, match=r"g.yaml:1:29: the file holds more than 10 values"):
        read(f"[{'1, ' * 20}]", "g.yaml")


def test_comma_in_a_text_is_seen() -> None:
    assert plain(read("{prompt: a cat, 4k}", "g.yaml")) == {"prompt": "a cat", "4k": None}
