"""Prefect's settings in this project. Import this module before Prefect."""

from __future__ import annotations

import logging
import os

from cfnsr.errors import sentence

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")


def _hide_traceback(record: logging.LogRecord) -> bool:
    """Log an error that a user can act on as one sentence. Bugs keep their traceback."""
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    message = sentence(error) if isinstance(error, Exception) else None
    if message is not None:
        record.exc_info = None
        record.msg, record.args = message, ()
    return True


for _name in ("prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(_name).addFilter(_hide_traceback)
