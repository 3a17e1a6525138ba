"""Reports that train many runs: ablation, experiments on real files, the choice of the epoch."""
