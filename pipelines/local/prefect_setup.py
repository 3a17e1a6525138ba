"""How Prefect behaves in this project. Imported before anything of Prefect is."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from cfnsr.errors import InputError, user_message

# No usage statistics, and time enough for Prefect's own API to start on a slow machine.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")


def _without_traceback(record: logging.LogRecord) -> bool:
    """Bad input is said in a sentence; the stack behind it helps nobody. Bugs keep theirs."""
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    said = user_message(error) if isinstance(error, Exception) else None
    if said is not None:
        record.exc_info = None
        record.msg, record.args = said, ()
    return True


for _name in ("prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(_name).addFilter(_without_traceback)


@contextmanager
def prefect_server_needed() -> Iterator[None]:
    """Inside, a Prefect server that is set but away is told in a sentence.

    Raises:
        InputError: instead of what Prefect raises, which has no class of its own.
    """
    try:
        yield
    except RuntimeError as error:
        if "Failed to reach API" not in str(error):
            raise
        raise InputError(
            f"the Prefect server does not answer ({error}): `make up` starts it again, and after `make down` flows run "
            "without it."
        ) from None
