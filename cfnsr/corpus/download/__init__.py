"""Downloading RAVDESS from Zenodo, an S3 mirror or a local folder; an interrupted download can be resumed."""
