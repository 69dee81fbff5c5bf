"""Prune a teacher step by step, teach each student, log every result as a `scaling_laws` run."""
