"""The steps of the pipeline: one module a step, with one plain function and a command line."""
