"""Optuna, as the step `tune` uses it."""
