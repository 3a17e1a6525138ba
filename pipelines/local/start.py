"""Start a run of a deployment, after checking that a worker is there to pick it up.

    python -m pipelines.local.start train-cfnsr/local --param profile=sample --watch

Takes the arguments of `prefect deployment run` and hands them on to it. That command alone also accepts a run that no
worker will ever pick up.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from cfnsr.errors import InputError, exit_with_message
from pipelines.local import prefect_setup  # noqa: F401  before Prefect


def check_ready(deployment: str) -> None:
    """Check that a worker would pick up a run of a deployment.

    Args:
        deployment: flow and deployment, such as `train-cfnsr/local`.

    Raises:
        InputError: the server does not answer, has no such deployment, or no worker polls the deployment's work pool.
    """
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound
    from prefect.settings import PREFECT_API_URL

    url = PREFECT_API_URL.value()
    if not url:
        raise InputError(
            "no Prefect server is set: start one with `make up`, or set PREFECT_API_URL. `dvc repro` needs none."
        )
    with get_client(sync_client=True) as client:
        if (failure := client.api_healthcheck()) is not None:
            raise InputError(f"the Prefect server at {url} does not answer ({failure}); start it with `make up`.")
        try:
            pool = client.read_deployment_by_name(deployment).work_pool_name
        except ObjectNotFound:
            raise InputError(
                f"there is no deployment {deployment!r}; `prefect deployment ls` lists those of the server."
            ) from None
        workers = client.read_workers_for_work_pool(pool) if pool else []
    if not any(worker.status == "ONLINE" for worker in workers):
        raise InputError(
            f"no worker polls the work pool {pool!r}, so the run would never start; start a worker first: "
            f"CFNSR_ROOT=$PWD prefect worker start --pool {pool}"
        )


def main() -> None:
    """Command line."""
    arguments = sys.argv[1:]
    with exit_with_message():
        if not arguments or arguments[0].count("/") != 1:
            raise InputError(
                "name a deployment first: python -m pipelines.local.start train-cfnsr/local [--param …] [--watch]"
            )
        check_ready(arguments[0])
    prefect = Path(sys.executable).parent / "prefect"
    os.execv(prefect, [str(prefect), "deployment", "run", *arguments])


if __name__ == "__main__":
    main()
