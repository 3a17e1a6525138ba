"""How Prefect behaves in this project. Imported before anything of Prefect is."""

from __future__ import annotations

import logging
import os

from cfnsr.errors import sentence

# No usage statistics, and time enough for Prefect's own API to start on a slow machine.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")


def _without_traceback(record: logging.LogRecord) -> bool:
    """Bad input is said in a sentence; the stack behind it helps nobody. Bugs keep theirs."""
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    said = sentence(error) if isinstance(error, Exception) else None
    if said is not None:
        record.exc_info = None
        record.msg, record.args = said, ()
    return True


for _name in ("prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(_name).addFilter(_without_traceback)
