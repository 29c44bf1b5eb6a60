"""Sweeps: the rows, the workers, the folder, the page, and the command that joins them."""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import pytest

from graph import GraphError, Registry, Written, load_text, node_types
from runtime.cli import main
from runtime.cli.worker import make_job
from runtime.content.versions import code_of
from runtime.sweep import (
    Row,
    SweepFolder,
    in_order_of_cost,
    read_rows,
    shard,
    spread,
)
from runtime.sweep.page import contact_page
from runtime.workers import Outcome, Task, WorkerDied

WrittenPath = Annotated[str, Written()]
ROOT = Path(__file__).parent.parent
NODES = """
import os, signal
from pathlib import Path
from typing import Annotated
from pydantic import Field
from graph import Written, node

@node(effect=True)
def write_words(words: str, times: Annotated[int, Field(ge=1)], path: Annotated[str, Written()]) -> Path:
    "Write words to a file."
    if words == "fail":
        raise ValueError("these words cannot be written")
    if words == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    Path(path).write_text(words * times)
    return Path(path)
"""
GRAPH = """# Words.
inputs: {words: hello, times: 1, output: words.txt}
nodes:
  saved: {node: write_words, words: $words, times: $times, path: $output}
"""


@pytest.fixture
def files(tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(NODES)
    (tmp_path / "words.yaml").write_text(GRAPH)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sweep(*words: str) -> int:
    return main(["words.yaml", "--nodes", "own.py", *words])


def manifest(folder: str) -> list[dict]:
    return [json.loads(line) for line in (Path(folder) / "manifest.jsonl").read_text().splitlines()]


def a_graph(text: str = GRAPH, words: object = str):
    registry = Registry()

    @registry.node(effect=True)
    def write_words(words: words, times: int, path: WrittenPath) -> int:
        """Write."""
        return 0

    return load_text(text, "words", registry)


def test_a_table_and_a_grid_combine_and_equal_rows_are_one(tmp_path):
    table = tmp_path / "rows.csv"
    table.write_text('words\n"a, b"\nc\n"a, b"\n')
    rows = read_rows(a_graph(), {}, table, ["times=1,2"])
    assert [(row.inputs["words"], row.inputs["times"]) for row in rows] == [
        ("a, b", 1), ("a, b", 2), ("c", 1), ("c", 2),
    ]  # fmt: skip
    assert [row.number for row in rows] == [1, 2, 3, 4]
    assert len({row.name for row in rows}) == 4


def test_grids_count_and_list(tmp_path):
    rows = read_rows(a_graph(), {"words": "x"}, None, ["times=3..1"])
    assert [row.inputs["times"] for row in rows] == [3, 2, 1]
    rows = read_rows(a_graph(), {}, None, ['words=[a cat, "a dog, running"]'])
    assert [row.inputs["words"] for row in rows] == ["a cat", "a dog, running"]
    rows = read_rows(a_graph(), {}, None, ['words=["a cat", "a dog, running"]'])
    assert [row.inputs["words"] for row in rows] == ["a cat", "a dog, running"]


def test_a_list_in_a_cell_is_the_batch_of_one_row(tmp_path):
    graph = a_graph(words=str | list[str])
    rows = read_rows(graph, {}, None, ['words=[["a", "b"], c]'])
    assert [row.inputs["words"] for row in rows] == [["a", "b"], "c"]
    table = tmp_path / "rows.csv"
    table.write_text('words\n"[""a"", ""b""]"\n[a]\n')
    assert [row.inputs["words"] for row in read_rows(graph, {}, table, [])] == [["a", "b"], "[a]"]


def test_a_name_is_of_the_graph_and_of_what_it_is_given(tmp_path):
    one, two = (read_rows(a_graph(), {"words": word}, None, [])[0].name for word in ("x", "y"))
    other = read_rows(a_graph(GRAPH.replace("# Words", "# Other words")), {"words": "x"}, None, [])
    assert len({one, two, other[0].name}) == 3
    assert read_rows(a_graph(), {"words": "x", "times": 1}, None, [])[0].name == one


def test_json_lines_hold_values(tmp_path):
    table = tmp_path / "rows.jsonl"
    table.write_text('{"words": "a=b", "times": 2}\n\n{"words": "#"}\n')
    rows = read_rows(a_graph(), {}, table, [])
    assert [dict(row.inputs) for row in rows] == [
        {"words": "a=b", "times": 2}, {"words": "#", "times": 1},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("words,tims\nx,1\n", "rows.csv:1: 'words' has no input 'tims'\n  help: did you mean 'times'?"),
        ("words,times\nx,1,2\n", "rows.csv:2: the line has not as many cells as the first"),
        ("words,times\nx,\nx,1\n", "input 'times' is in the table and in --grid\n  help: leave it out of one of them"),
        ("words,output\nx,y\n", "input 'output' names a file, and a sweep names the files itself"),
    ],
)  # fmt: skip
def test_a_wrong_table_is_refused_whole(content, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text(content)
    with pytest.raises(GraphError) as refused:
        read_rows(a_graph(), {}, Path("rows.csv"), ["times=1,2"])
    assert message in str(refused.value)


def test_a_graph_that_always_writes_the_same_file_cannot_be_swept():
    text = GRAPH.replace("path: $output", "path: words.txt").replace(", output: words.txt", "")
    with pytest.raises(GraphError) as refused:
        read_rows(a_graph(text), {}, None, [])
    assert str(refused.value) == (
        "words:4:66: 'saved' always writes the same file\n"
        "    saved: {node: write_words, words: $words, times: $times, path: words.txt}\n"
        f"{' ' * 67}^\n  help: make 'path' an input of the graph"
    )


def test_shards_are_all_rows_and_none_twice():
    rows = [Row(number, str(number), {}) for number in range(1, 12)]
    parts = [shard(rows, index, 3) for index in (1, 2, 3)]
    assert sorted((row for part in parts for row in part), key=lambda row: row.number) == rows
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_what_has_few_values_changes_least_often():
    rows = read_rows(a_graph(), {}, None, ["times=1..5", "words=a,b"])
    assert [row.inputs["words"] for row in in_order_of_cost(rows)] == ["a"] * 5 + ["b"] * 5


class FakeWorker:
    """Dies of the tasks that `deadly` names, as often as it says."""

    def __init__(self, number: int, deadly: dict[str, int]) -> None:
        self.number = number
        self.deadly = deadly
        self.task = None
        self.stopped = False

    def send(self, tasks):
        [self.task] = tasks

    def receive(self):
        if self.task is None:
            return None
        if self.deadly.get(self.task.id, 0) > 0:
            self.deadly[self.task.id] -= 1
            raise WorkerDied
        return (Outcome(self.task.id, "done", 0.0),)

    def stop(self):
        self.stopped = True


def tasks(count: int) -> list[Task]:
    return [Task(str(number), "words", {}) for number in range(count)]


def test_a_row_whose_worker_dies_is_tried_again_but_not_for_ever():
    deadly, workers = {"3": 1, "7": 2, "11": 99}, []

    def start(number):
        assert number not in [worker.number for worker in workers if not worker.stopped]
        workers.append(FakeWorker(number, deadly))
        return workers[-1]

    outcomes = list(spread(tasks(20), 4, start, lambda workers: workers))
    assert sorted(int(outcome.id) for outcome in outcomes) == list(range(20))
    assert {outcome.id: outcome.error for outcome in outcomes if outcome.error} == {
        "11": "3 workers died of this row"
    }
    assert {worker.number for worker in workers} == {0, 1, 2, 3}
    assert all(worker.stopped for worker in workers)


def test_a_worker_that_never_gets_ready_holds_no_row():
    workers = []

    def start(number):
        workers.append(FakeWorker(number, {}))
        return workers[-1]

    outcomes = spread(
        tasks(5), 2, start, lambda asked: [each for each in asked if each is workers[0]]
    )
    assert len(list(outcomes)) == 5
    assert all(worker.stopped for worker in workers)


def test_workers_that_die_before_they_are_ready_end_the_sweep():
    class Dead(FakeWorker):
        def receive(self):
            raise WorkerDied("there is no torch here")

    with pytest.raises(WorkerDied, match="there is no torch here"):
        list(spread(tasks(1), 2, lambda number: Dead(number, {}), lambda workers: workers))


def test_two_sweeps_that_finish_the_same_row_leave_one_result(tmp_path):
    row = Row(1, "row", {})
    first, second = SweepFolder(tmp_path / "out"), SweepFolder(tmp_path / "out")
    first.publish(row, Outcome("row", "done", 1.0, {"a.txt": b"1"}))
    second.publish(row, Outcome("row", "done", 2.0, {"a.txt": b"1"}))
    assert json.loads((tmp_path / "out/row/row.json").read_text())["seconds"] == 1.0
    assert sorted(os.listdir(tmp_path / "out")) == ["row"]


def test_the_page_shows_texts_as_texts():
    hostile = "</script><script>alert(1)</script>"
    line = {"name": "r", "status": "done", "files": ["a.png"], "inputs": {"words": hostile}}
    page = contact_page("<b>", [line], ["words"])
    assert hostile not in page
    assert "<title>&lt;b&gt;</title>" in page
    assert "r/a.png" in page


def test_the_page_says_which_row_was_refused_and_shows_no_inputs_that_it_has_not():
    line = {"row": 5, "name": "r", "status": "refused", "error": "wrong"}
    page = contact_page("out", [line], ["words"])
    assert '"error": "row 5: wrong"' in page
    assert '"inputs": {"words": ""}' in page


def test_a_bad_row_is_reported_and_the_others_are_done_once(files, capsys):
    Path("rows.csv").write_text("words,times\nhello,2\nfail,1\nbye,0\nbye,3\n")
    assert sweep("--sweep", "rows.csv", "--out", "out") == 3
    said = capsys.readouterr()
    assert "2 of 4 rows are done: out/index.html" in said.out
    assert "row 2 (failed): words.yaml:4:3: 'saved' (write_words) failed: ValueError" in said.err
    assert "row 3 (refused): error: input 'times' must be at least 1, found 0" in said.err
    lines = manifest("out")
    assert [line["status"] for line in lines] == ["done", "failed", "refused", "done"]
    assert Path("out", lines[3]["name"], "words.txt").read_text() == "byebyebye"
    before = Path("out", lines[0]["name"]).stat().st_mtime_ns
    assert sweep("--sweep", "rows.csv", "--out", "out") == 3
    again = capsys.readouterr().err
    assert "2 of 4 rows need no run\n1 of 4 rows are refused\n" in again
    assert Path("out", lines[0]["name"]).stat().st_mtime_ns == before


def test_shards_share_a_folder_and_the_whole_then_has_nothing_to_do(files, capsys):
    for part in ("1/2", "2/2"):
        assert sweep("--grid", "times=1..5", "--out", "out", "--shard", part) == 0
    assert "2 of 2 rows are done" in capsys.readouterr().out
    assert [line["status"] for line in manifest("out")] == ["done"] * 5  # of all shards
    assert sweep("--grid", "times=1..5", "--out", "out") == 0
    assert "5 of 5 rows need no run" in capsys.readouterr().err
    assert len(manifest("out")) == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--grid", "tims=1,2"], "--grid: 'tims=1,2' does not give an input of 'words' its values\n  help: did you mean 'times'?"),
        (["--grid", "times=0-5"], "input 'times' takes int, found the text '0-5'\n  help: a range is written times=0..5"),
        (["--grid", "times=1...5"], "input 'times' takes int, found the text '1...5'\n  help: a range is written times=1..5"),
        (["--grid", "times=1", "--shard", "3/2"], "--shard: '3/2' is no part of a whole\n  help: write 1/8 to 8/8"),
        (["--grid", "times=1", "--on", "slurm"], "--on: there is no 'slurm'\n  help: write local:2, ray or ray://HOST:10001"),
        (["--grid", "times=1", "--checkpoint-every", "2"], "--checkpoint-every is for one run, and --sweep and --grid make many"),
        (["--sweep", "none.csv"], "--sweep: 'none.csv': No such file or directory"),
    ],
)  # fmt: skip
def test_wrong_words_are_refused(words, message, files, capsys):
    assert sweep(*words) == 2
    assert message in capsys.readouterr().err


def test_where_every_row_is_wrong_nothing_runs(files, capsys):
    assert sweep("--grid", "words=0-5", "times=0,-1", "--out", "out") == 2
    assert capsys.readouterr().err == (
        "row 1 (refused): error: input 'times' must be at least 1, found 0\n"
        "row 2 (refused): error: input 'times' must be at least 1, found -1\n"
    )
    assert not Path("out").exists()


def test_nodes_that_travel_leave_no_files_behind(tmp_path, monkeypatch):
    (tmp_path / "far.py").write_text(NODES.replace("write_words", "write_words_far_away"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    given = argparse.Namespace(
        nodes=[str(tmp_path / "far.py")],
        device="cpu",
        dtype="auto",
        memory="auto",
        compile=False,
        offline=False,
    )
    make_job(given, [], watched=False, commits={}).travelling()(0)
    assert code_of(node_types()["write_words_far_away"])
    assert not os.listdir(tmp_path / "temporary")


@pytest.mark.slow
def test_a_row_that_kills_processes_is_reported_and_the_others_are_done(files, capsys):
    assert sweep("--grid", "words=a,die,b,c", "--out", "out", "--on", "local:2") == 3
    assert "3 workers died of this row" in capsys.readouterr().err
    assert [line["status"] for line in manifest("out")] == ["done", "failed", "done", "done"]


@pytest.mark.slow
def test_a_killed_sweep_goes_on_where_it_was(files):
    command = [
        sys.executable, "-m", "runtime.cli", "emoji", "steps=2", "--grid", "seed=0..9",
        "--out", "out", "--on", "local:2",
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if " rows, " in line:
                break
        process.send_signal(signal.SIGKILL)
    assert (
        subprocess.run(command, check=False, env=environment, capture_output=True).returncode == 0
    )
    pictures = {path.read_bytes() for path in Path("out").glob("*/emoji.png")}
    assert len(pictures) == len(manifest("out")) == 10
    assert not [name for name in os.listdir("out") if name.startswith(".part-")]
