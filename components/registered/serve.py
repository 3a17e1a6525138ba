"""The REST server of a registered model: MLflow's, for its own names and pages only, and with bounded work.

    python -m components.registered.serve --model models:/cfn-sr@champion --port 5001

It runs the library of this checkout. `mlflow models serve` runs the one that is stored with the model, in MLflow's
server alone, which answers every page that a browser of this machine shows, and reads all requests into memory at once.
"""

from __future__ import annotations

import argparse

import mlflow
import uvicorn
from mlflow.pyfunc import scoring_server
from starlette.types import ASGIApp

from cfnsr.errors import exit_with_message
from cfnsr.registry import fetch_model
from cfnsr.serve.gate import OwnNamesOnly, own_names
from cfnsr.serve.limits import ServerLimits
from cfnsr.serve.turns import Turns

_BASE64 = 4 / 3  # characters per byte
_ROOM = 1_000_000  # bytes of a request besides its clips
_SHUTDOWN = 30  # s for requests in progress when the server is told to end


def create(model: str, limits: ServerLimits, host: str) -> ASGIApp:
    """Return the server.

    Args:
        model: URI of the registered model.
        limits: what it accepts; the clips that a request contains may have `max_megabytes` together.
        host: name or address that it listens on.

    Raises:
        InputError: there is no such model, or the registry does not answer.
    """
    server = scoring_server.init(mlflow.pyfunc.load_model(str(fetch_model(model))))
    max_bytes = round(limits.max_bytes * _BASE64) + _ROOM
    return OwnNamesOnly(Turns(server, limits.max_at_once, limits.max_waiting, max_bytes), {*own_names(), host.lower()})


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="models:/cfn-sr@champion", help="URI of a registered model")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all interfaces")
    parser.add_argument("--port", type=int, default=5001)
    options = parser.parse_args()
    with exit_with_message():
        server = create(options.model, ServerLimits.from_environment(), options.host)
        uvicorn.run(server, host=options.host, port=options.port, access_log=False, timeout_graceful_shutdown=_SHUTDOWN)


if __name__ == "__main__":
    main()
