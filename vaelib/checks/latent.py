"""Checks of the exercises of :doc:`/book/latent`."""

__all__: list[str] = []
