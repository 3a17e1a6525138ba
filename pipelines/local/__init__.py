"""Services that run on one machine, and starting runs on them."""
