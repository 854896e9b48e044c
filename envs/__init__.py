"""Fully jitted environments and families of tasks."""
