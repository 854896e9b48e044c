"""Curriculum teachers over boxes of continuous task vectors."""
