"""A server under load: 200 requests at once against a queue of 16, its memory, and a cancelled run.

    python benchmarks/serve.py [REQUESTS] [ROUNDS]

Serves the embedded emoji-64 on this machine. Every request must be answered with a picture or with
429; a cancelled run must end within a step.
"""

import asyncio
import collections
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).parent.parent
QUEUE = 16


def free_port() -> int:
    """Find a port that nobody listens to."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def ask(client: httpx.AsyncClient, seed: int) -> tuple[int, bytes]:
    """Ask for a picture."""
    found = await client.post("/graphs/emoji", json={"steps": 2, "seed": seed})
    return found.status_code, found.content


async def measure(url: str, server: psutil.Process, requests: int, rounds: int) -> None:
    """Print what was answered, and what the server holds after each round."""
    limits = httpx.Limits(max_connections=requests)
    async with httpx.AsyncClient(base_url=url, timeout=300, limits=limits) as client:
        await ask(client, 0)
        for number in range(rounds):
            begin = time.perf_counter()
            found = await asyncio.gather(*(ask(client, seed) for seed in range(requests)))
            seconds = time.perf_counter() - begin
            statuses = collections.Counter(status for status, _ in found)
            pictures = {content for status, content in found if status == 200}
            held = server.memory_info().rss / 2**20
            print(
                f"round {number + 1}: {dict(statuses)} in {seconds:.1f} s, "
                f"{len(pictures)} distinct pictures, server holds {held:.0f} MiB"
            )
            assert set(statuses) <= {200, 429}
            assert len(pictures) == statuses[200] >= QUEUE
        await cancel(client)
        text = (await client.get("/metrics")).text
        print("\n".join(line for line in text.splitlines() if not line.startswith("#")))


async def cancel(client: httpx.AsyncClient) -> None:
    """Cancel a run of 150 steps in its midst, and print after which step it ended."""
    body, later = {"steps": 150}, {"prefer": "respond-async"}
    run = (await client.post("/graphs/emoji", json=body, headers=later)).headers["location"]
    while (told := (await client.get(run)).json()).get("step", 0) < 10:
        await asyncio.sleep(0.01)
    asked = (await client.delete(run)).json()["step"]
    while (told := (await client.get(run)).json())["status"] != "cancelled":
        await asyncio.sleep(0.01)
    print(f"cancelled at step {asked}, ended after step {told['step']} of 150")
    assert told["step"] <= asked + 1


def main(requests: int, rounds: int) -> None:
    """Start the server, measure, end it."""
    port = free_port()
    words = ["serve", "emoji", "--port", str(port), "--queue", str(QUEUE)]
    environment = {**os.environ, "RUN_GRAPH_TOKEN": ""}
    with subprocess.Popen(
        [sys.executable, "-m", "runtime.cli", *words],
        cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as server:  # fmt: skip
        try:
            url = f"http://127.0.0.1:{port}"
            while True:
                try:
                    httpx.get(f"{url}/health")
                    break
                except httpx.ConnectError:
                    time.sleep(0.1)
            asyncio.run(measure(url, psutil.Process(server.pid), requests, rounds))
        finally:
            server.terminate()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:] or ("200", "3")))
