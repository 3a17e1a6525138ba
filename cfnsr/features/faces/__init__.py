"""Faces: found, followed and cut out of a clip's frames, packed in Parquet files and read back.

Boxes are arrays `(x, y, width, height)`, float32, in pixels of the full-resolution picture as it is shown; a box goes
from the forehead to the chin, whichever finder made it.
"""
