"""
The part of a Hub that takes jobs, for the real client: a job's command is run by this machine in the job's environment.

A volume is a folder here, so a variable whose value is the path of a volume's mount gets that folder's path.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

TOKEN = "hf_StandInTokenForJobs0123456789"  # noqa: S105 - what the stand-in alone takes
OWNER = "acme"
ID = "687fb701029421ae5549d998"


class StandInJobs(ThreadingHTTPServer):
    """
    Takes one job and runs it.

    Args:
        volumes: The folder of each volume, by its source.
        environment: What the image would set.
        folder: The container's working folder.
    """

    daemon_threads = True

    def __init__(self, volumes: dict[str, Path], environment: dict[str, str], folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.volumes = volumes
        self.environment = environment
        self.folder = folder
        self.spec: dict[str, Any] = {}
        self.done: subprocess.CompletedProcess[str] | None = None

    @property
    def client_environment(self) -> dict[str, str]:
        """What a client's environment must hold, beside the usual, to talk to this Hub."""
        return {"HF_ENDPOINT": f"http://127.0.0.1:{self.server_port}", "HF_HUB_OFFLINE": "0", "HF_TOKEN": TOKEN}

    def start(self, spec: dict[str, Any]) -> None:
        """Run a job to its end."""
        self.spec = spec
        mounts = {volume["mountPath"]: str(self.volumes[volume["source"]]) for volume in spec["volumes"]}
        given = {name: mounts.get(value, value) for name, value in spec["environment"].items()}
        path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        self.done = subprocess.run(
            spec["command"], cwd=self.folder, env={**path, **self.environment, **given}, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def info(self) -> dict[str, Any]:
        """Say how the job is, as the API does."""
        stage = "RUNNING" if self.done is None else "COMPLETED" if self.done.returncode == 0 else "ERROR"
        return {
            "id": ID,
            "createdAt": "2026-11-30T12:00:00.000Z",
            "owner": {"id": "1", "name": OWNER, "type": "user"},
            "status": {"stage": stage, "message": None},
            **{name: self.spec.get(name) for name in ("command", "environment", "flavor", "dockerImage")},
        }


@contextmanager
def taking_jobs(volumes: dict[str, Path], environment: dict[str, str], folder: Path) -> Iterator[StandInJobs]:
    """Take jobs while the block runs."""
    server = StandInJobs(volumes, environment, folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    @property
    def jobs(self) -> StandInJobs:
        return cast("StandInJobs", self.server)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers.get("Authorization") == f"Bearer {TOKEN}" and self.path == f"/api/jobs/{OWNER}":
            self.jobs.start(body)
            self._send(json.dumps(self.jobs.info()))
        else:
            self.send_error(401)

    def do_GET(self) -> None:
        if self.path == "/api/whoami-v2":
            self._send(json.dumps({"type": "user", "name": OWNER, "orgs": []}))
        elif self.path == f"/api/jobs/{OWNER}/{ID}":
            self._send(json.dumps(self.jobs.info()))
        elif self.path.startswith(f"/api/jobs/{OWNER}/{ID}/logs") and self.jobs.done is not None:
            events = [json.dumps({"data": line, "timestamp": ""}) for line in self.jobs.done.stdout.splitlines()]
            self._send("".join(f"data: {event}\n\n" for event in events), kind="text/event-stream")
        else:
            self.send_error(404)

    def _send(self, text: str, *, kind: str = "application/json") -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())
