"""Everything that runs on this machine alone: servers, workers, and flows without a server."""
