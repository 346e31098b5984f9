"""Checks of the exercises of :doc:`/book/vae`."""

__all__: list[str] = []
