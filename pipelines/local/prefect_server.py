"""The Prefect server for its own names and pages only, which Prefect itself does not check.

`uvicorn --factory pipelines.local.prefect_server:create --port 4200` starts it. CFNSR_ALLOWED_HOSTS lists its names,
besides `localhost` and IP addresses.
"""

from __future__ import annotations

from starlette.types import ASGIApp

from cfnsr.serve.gate import OwnNamesOnly, own_names
from pipelines.local import prefect_setup  # noqa: F401  before Prefect


def create() -> ASGIApp:
    """Return the server."""
    from prefect.server.api.server import create_app

    return OwnNamesOnly(create_app(final=True), own_names())
