"""Trained models as files for others; nothing that a config may name."""

__all__ = ()
