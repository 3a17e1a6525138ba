"""Predictions for people: tables, pictures and colours."""
