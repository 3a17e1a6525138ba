"""Studies that train many runs: ablation, experiments on real files, choice of the epoch."""
