"""Send to MLflow what an outage of the server has left undelivered."""

from __future__ import annotations

from cfnsr.config.load import Settings
from cfnsr.errors import InputError
from cfnsr.registry import tracking_uri
from cfnsr.text import without_passwords
from components.step import run_step
from components.tracking.outbox import deliver_all


def deliver(settings: Settings) -> None:
    """Deliver the measurements of all runs of the project.

    Raises:
        InputError: some could not be delivered.
    """
    server = tracking_uri(settings.layout.root)
    delivered, left = deliver_all(settings.layout, server)
    if left:
        raise InputError(
            f"the measurements of {left} runs could not be delivered to {server}: it does not answer, or the runs "
            "belong to another server; they are kept."
        )
    print(f"delivered the measurements of {delivered} runs to {without_passwords(server)}")


if __name__ == "__main__":
    run_step(deliver, __doc__)
