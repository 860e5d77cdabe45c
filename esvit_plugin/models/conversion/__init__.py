"""Checkpoints of other programs: in, and for timm out."""
