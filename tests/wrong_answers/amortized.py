"""Answers to the exercises of chapter amortized."""
