"""Training one fold: first the single encoders, then the fused network."""
