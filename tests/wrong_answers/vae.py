"""Answers to the exercises of chapter vae."""
