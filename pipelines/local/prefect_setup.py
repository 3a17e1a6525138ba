"""Prefect's settings in this project. Import this module before Prefect."""

from __future__ import annotations

import logging
import os
import traceback

from cfnsr.errors import user_message
from cfnsr.text import without_passwords

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")


def _hide_details(record: logging.LogRecord) -> bool:
    """Log an error that a user can act on as one sentence. Bugs keep their traceback; nothing has a password in it."""
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    message = user_message(error) if isinstance(error, Exception) else None
    if message is not None:
        record.exc_info = None
    elif error is not None:
        record.exc_text = without_passwords("".join(traceback.format_exception(error)))  # which formatters take
    record.msg, record.args = message or without_passwords(record.getMessage()), ()
    return True


for _name in ("prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(_name).addFilter(_hide_details)
