"""Errors and their intervals, baselines, folds, tables, figures and the report."""
