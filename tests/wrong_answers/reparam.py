"""Answers to the exercises of chapter reparam."""
