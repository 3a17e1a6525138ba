"""Flow `promote-cfnsr`: the gate of `components.promote`, started from the Prefect UI or another flow."""

from __future__ import annotations

from pathlib import Path

import pipelines.local.prefect_setup  # isort: skip  # noqa: F401  before Prefect
from prefect import flow, get_run_logger

from cfnsr.errors import InputError, exit_with_sentence
from components import promote


@flow(name="promote-cfnsr", flow_run_name="promote version {version}")
def promote_cfnsr(version: int, reason: str = "", params_file: Path = Path("params.yaml")) -> str:
    """Make a registered version the champion if it is better than the present one.

    Args:
        version: of the registered model.
        reason: promote without the gate, and record this; empty to let the gate decide.
        params_file: the settings; the folder it lies in is the project's root.

    Returns:
        A sentence that says what was done and why.
    """
    said = promote.promote(params_file, version, reason.strip())
    get_run_logger().info("%s", said)
    return said


if __name__ == "__main__":
    with exit_with_sentence():
        raise InputError("this flow has no command of its own; run `python -m components.promote --version N`.")
