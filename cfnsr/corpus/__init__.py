"""Corpora: how their files are named and fetched, the manifest of their clips, and folds by speaker."""
