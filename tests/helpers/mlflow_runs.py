"""What a small training has left in its project's MLflow database."""

import mlflow

from cfnsr.config.load import Settings


def client(settings: Settings) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{settings.layout.root}/mlflow.db")


def runs(settings: Settings) -> tuple[mlflow.entities.Run, list[mlflow.entities.Run]]:
    found = client(settings).search_runs([client(settings).get_experiment_by_name("cfn-sr").experiment_id])
    children = [run for run in found if "mlflow.parentRunId" in run.data.tags]
    (parent,) = [run for run in found if run not in children]
    return parent, children
