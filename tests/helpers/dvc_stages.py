"""The stages of dvc.yaml and what they need of each other."""

from typing import Any

import yaml
from helpers.paths import PROJECT

STAGES: dict[str, dict[str, Any]] = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]


def outputs(stage: str) -> set[str]:
    """Paths of a stage's outputs, its metrics among them."""
    listed = [*STAGES[stage]["outs"], *STAGES[stage].get("metrics", ())]
    return {next(iter(out)) if isinstance(out, dict) else out for out in listed}


def earlier_stages(stage: str) -> set[str]:
    """All stages whose outputs a stage depends on, directly or through others."""
    direct = {other for other in STAGES if outputs(other) & set(STAGES[stage]["deps"])}
    return direct.union(*map(earlier_stages, direct))
