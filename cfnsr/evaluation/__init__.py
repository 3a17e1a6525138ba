"""From test predictions to metrics, intervals and plots."""
