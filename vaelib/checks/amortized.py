"""Checks of the exercises of :doc:`/book/amortized`."""

__all__: list[str] = []
