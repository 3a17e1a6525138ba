"""What the log of a flow says about an error."""

import io
import logging

import pytest

import pipelines.local.prefect_setup  # noqa: F401  adds the filter
from cfnsr.errors import InputError


@pytest.mark.parametrize(
    ("error", "logged"),
    [
        (InputError("http://me:secret@host does not answer"), "http://host does not answer\n"),
        (KeyError("http://me:secret@host"), "of http://db\nTraceback (most recent call last):\n"),
    ],
)
def test_an_error_is_a_sentence_or_a_traceback_without_passwords(error, logged):
    logger, stream = logging.getLogger("prefect.flow_runs"), io.StringIO()
    handler = logging.StreamHandler(stream)
    logger.addHandler(handler)
    try:
        raise error
    except (InputError, KeyError):
        logger.exception("of %s", "http://me:secret@db")
    finally:
        logger.removeHandler(handler)
    assert stream.getvalue().startswith(logged)
    assert "secret" not in stream.getvalue()
    assert ("KeyError: 'http://host'" in stream.getvalue()) == isinstance(error, KeyError)
