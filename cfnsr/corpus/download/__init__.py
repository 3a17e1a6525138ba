"""Getting RAVDESS: from Zenodo, from an S3 mirror, from a folder; interrupted at any moment, it goes on from there."""
