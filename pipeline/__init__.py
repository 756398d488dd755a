"""Scans through an estimator to results: one scan, or many over processes and machines."""
