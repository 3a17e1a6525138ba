"""Training one fold: the encoders alone, then the fused network."""
