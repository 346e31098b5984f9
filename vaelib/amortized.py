"""Inference as a function: one network from x to the parameters of q(z | x), for all x."""

__all__: list[str] = []
