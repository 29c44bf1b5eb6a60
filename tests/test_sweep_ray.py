"""A sweep over a Ray cluster of two machines, emulated on this one, of which one is lost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent
ROWS = 12


@pytest.fixture
def cluster():
    pytest.importorskip("ray", reason="Ray is not installed")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield made
    made.shutdown()


@pytest.mark.filterwarnings("ignore")
def test_rows_of_a_lost_machine_are_run_by_the_other(cluster, tmp_path):
    graph = tmp_path / "mine.yaml"
    graph.write_text((ROOT / "graphs" / "emoji.yaml").read_text())
    lost = cluster.add_node(num_cpus=1)
    command = [
        sys.executable, "-m", "runtime.cli", str(graph), "steps=2", "--grid", f"seed=1..{ROWS}",
        "--out", str(tmp_path / "out"), "--on", "ray",
    ]  # fmt: skip
    environment = os.environ | {
        "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RAY_ADDRESS": cluster.address,
    }  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if f"/{ROWS} rows" in line and lost is not None:
                cluster.remove_node(lost, allow_graceful=False)
                lost = None
    print(said)
    assert process.returncode == 0
    lines = (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()
    assert [json.loads(line)["status"] for line in lines] == ["done"] * ROWS
    assert len({path.read_bytes() for path in tmp_path.glob("out/*/emoji.png")}) == ROWS
