"""Checks of the exercises of :doc:`/book/elbo`."""

__all__: list[str] = []
