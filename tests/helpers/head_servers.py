"""The servers of deploy/compose.yaml without containers: its commands and variables, on free ports of the loopback."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import yaml
from helpers.paths import PROJECT
from helpers.postgres_server import USER, Postgres, postgres_server
from helpers.running_programs import free_ports, wait_for_page
from helpers.servers import s3_server

KEYS = {"AWS_ACCESS_KEY_ID": "cfnsr", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass(frozen=True)
class Head:
    """Where the servers listen, and the free ports that stand for those of the compose file."""

    postgres: Postgres
    s3: str
    mlflow_port: int
    prefect_port: int

    @property
    def mlflow(self) -> str:
        """The MLflow server."""
        return f"http://127.0.0.1:{self.mlflow_port}"

    @property
    def prefect(self) -> str:
        """The API of the Prefect server."""
        return f"http://127.0.0.1:{self.prefect_port}/api"

    def here(self, text: str) -> str:
        """The addresses of deploy/compose.yaml and deploy/example.env replaced by those of this machine."""
        addresses = {
            r"http://(s3|head):9000": self.s3,
            r"http://(mlflow|head):5000": self.mlflow,
            r"http://(prefect|head):4200/api": self.prefect,
            r"(postgres|head):5432": self.postgres.address,
            r"0\.0\.0\.0": "127.0.0.1",
            r"\b5000\b": str(self.mlflow_port),
            r"\b4200\b": str(self.prefect_port),
        }
        whole = re.compile("|".join(addresses))  # in one go: a free port may contain another number
        return whole.sub(lambda found: next(new for old, new in addresses.items() if re.fullmatch(old, found[0])), text)

    def service(self, name: str) -> dict[str, Any]:
        """A service of the compose file as it would be on this machine."""
        text = (PROJECT / "deploy/compose.yaml").read_text()
        variables = {"CFNSR_HEAD": "head", "POSTGRES_PASSWORD": "any", **KEYS}
        text = re.sub(r"\$\{(\w+)[^}]*\}", lambda found: variables.get(found[1], ""), text)
        return yaml.safe_load(self.here(text))["services"][name]

    def environment(self, name: str) -> dict[str, str]:
        """Variables of a service's process."""
        return {**os.environ, **KEYS, **self.service(name)["environment"]}


@contextmanager
def head_servers(folder: Path) -> Iterator[Head]:
    """PostgreSQL, S3, MLflow and Prefect, all of them empty; logs in a folder."""
    with ExitStack() as stack:
        head = Head(stack.enter_context(postgres_server()), stack.enter_context(s3_server()), *free_ports(2))
        _databases(head)
        subprocess.run(
            [sys.executable, PROJECT / "deploy/buckets.py"], env=head.environment("buckets"), cwd=folder, check=True
        )
        mlflow = stack.enter_context(_server(head, "mlflow", folder))
        prefect = stack.enter_context(_server(head, "prefect", folder))
        wait_for_page(mlflow, f"{head.mlflow}/health", (folder / "mlflow.log").read_text)
        wait_for_page(prefect, f"{head.prefect}/health", (folder / "prefect.log").read_text)
        yield head


def _databases(head: Head) -> None:
    with psycopg.connect(f"postgresql://{USER}@{head.postgres.address}/postgres", autocommit=True) as connection:
        for statement in (PROJECT / "deploy/databases.sql").read_text().split(";"):
            if statement.strip():
                connection.execute(statement.encode())


@contextmanager
def _server(head: Head, name: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    program, *arguments = head.service(name)["command"]
    environment = {**head.environment(name), "PREFECT_HOME": str(folder / "prefect"), "PYTHONPATH": str(PROJECT)}
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [Path(sys.executable).parent / program, *arguments], cwd=folder, env=environment, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)
