"""Grids of distillation runs, and the sweep that does them on one machine or on many.

``python -m experiments.sweep tiny --out DIR`` does a grid and fits a law to its log.
"""
