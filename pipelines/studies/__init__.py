"""Studies that train many runs: the ablation, and experiments on real files."""
