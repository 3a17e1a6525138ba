"""Who runs the steps, when and where."""
