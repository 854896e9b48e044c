"""Figures, tables and reports from finished runs."""
