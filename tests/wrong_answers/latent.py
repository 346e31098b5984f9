"""Answers to the exercises of chapter latent."""
