"""The outbox on a disk that is full."""

import errno

import mlflow
import pytest
from helpers.tiny_disk import tiny_disk

from components.tracking.outbox import Outbox


@pytest.fixture
def disk(tmp_path):
    with tiny_disk(tmp_path / "disk", "64k") as folder:
        yield folder


def test_a_full_disk_loses_nothing_that_was_accepted(disk, tmp_path):
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    run_id = client.create_run("0").info.run_id
    outbox = Outbox(disk / "outbox", f"sqlite:///{tmp_path}/mlflow.db", run_id)
    (disk / "ballast").write_bytes(bytes(40_000))
    accepted = []
    for step in range(500):  # in the middle of a line, the disk is full
        try:
            outbox.metrics({"loss": float(step)}, step)
        except OSError as error:
            assert error.errno == errno.ENOSPC  # noqa: PT017
        else:
            accepted.append(step)
    assert 100 < len(accepted) < 400

    (disk / "ballast").unlink()
    outbox.metrics({"loss": 500.0}, 500)
    assert outbox.deliver()
    logged = [metric.step for metric in client.get_metric_history(run_id, "loss")]
    assert logged == [*accepted, 500]
