"""MLflow, as the steps use it."""
