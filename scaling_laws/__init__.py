"""Scaling laws of task-specific LLM distillation: fit, predict, validate."""
