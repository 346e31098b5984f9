"""Checks of the exercises of :doc:`/book/reparam`."""

__all__: list[str] = []
