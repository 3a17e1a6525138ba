"""Flow `promote-cfnsr`: the gate of `components.promote`, run from the Prefect UI or another flow."""

from __future__ import annotations

from pathlib import Path

import pipelines.local.prefect_setup  # isort: skip  # noqa: F401  before Prefect
from prefect import flow, get_run_logger

from components import promote


@flow(name="promote-cfnsr", flow_run_name="promote version {version}")
def promote_cfnsr(version: int, reason: str = "", params_file: Path = Path("params.yaml")) -> str:
    """Make a registered version the champion if it is better than the present one.

    Args:
        version: of the registered model.
        reason: promote without the gate, and record this; empty to let the gate decide.
        params_file: the settings; its folder is the project's root.

    Returns:
        A sentence about what was done and why.
    """
    outcome = promote.promote(params_file, version, reason.strip())
    get_run_logger().info("%s", outcome)
    return outcome
