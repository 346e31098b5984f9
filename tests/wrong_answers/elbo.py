"""Answers to the exercises of chapter elbo."""
