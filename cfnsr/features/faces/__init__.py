"""Faces: detected, tracked and cut out of the frames of a clip, packed in Parquet files and read back.

Boxes are arrays `(x, y, width, height)`, float32, in pixels of the full-resolution picture as it is shown. A box
reaches from the forehead to the chin, whether a detector or landmarks made it.
"""
