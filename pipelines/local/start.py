"""Start a deployed flow after a look whether anybody is there to run it.

    python -m pipelines.local.start train-cfnsr/local --param profile=sample --watch

Takes the name and options that `prefect deployment run` takes, which it becomes. That command alone accepts a run that
no worker will ever fetch.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from cfnsr.errors import InputError, exit_with_sentence
from pipelines.local import prefect_setup  # noqa: F401  before Prefect


def check_ready(deployment: str) -> None:
    """Look whether a run of the deployment would be fetched by a worker.

    Args:
        deployment: its flow's and its own name, as `train-cfnsr/local`.

    Raises:
        InputError: the server does not answer, it has no such deployment, or no worker polls the deployment's pool.
    """
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound
    from prefect.settings import PREFECT_API_URL

    url = PREFECT_API_URL.value()
    if not url:
        raise InputError(
            "no Prefect server is set: `make up` starts one here, PREFECT_API_URL names one elsewhere; without a "
            "server `python -m pipelines.train` runs the same flow."
        )
    with get_client(sync_client=True) as client:
        # What the client raises for a server that is away depends on how it is away.
        if (trouble := client.api_healthcheck()) is not None:
            raise InputError(f"the Prefect server at {url} does not answer ({trouble}): `make up` starts it again.")
        try:
            pool = client.read_deployment_by_name(deployment).work_pool_name
        except ObjectNotFound:
            flows = {flow.id: flow.name for flow in client.read_flows()}
            known = sorted(f"{flows[each.flow_id]}/{each.name}" for each in client.read_deployments())
            raise InputError(
                f"there is no deployment {deployment!r}; the server knows {', '.join(known) or 'none'}."
            ) from None
        if pool is None:
            raise InputError(f"the deployment {deployment} has no work pool; `prefect deploy --all` deploys it anew.")
        workers = client.read_workers_for_work_pool(pool)
    if not any(worker.status == "ONLINE" for worker in workers):
        raise InputError(
            f"no worker polls the pool {pool!r}, so nothing would run; start one: "
            f"CFNSR_ROOT=$PWD prefect worker start --pool {pool}"
        )


def main() -> None:
    """Command line."""
    arguments = sys.argv[1:]
    with exit_with_sentence():
        if not arguments or arguments[0].count("/") != 1:
            raise InputError(
                "name a deployment first: python -m pipelines.local.start train-cfnsr/local [--param …] [--watch]"
            )
        check_ready(arguments[0])
    prefect = Path(sys.executable).parent / "prefect"
    os.execv(prefect, [str(prefect), "deployment", "run", *arguments])


if __name__ == "__main__":
    main()
