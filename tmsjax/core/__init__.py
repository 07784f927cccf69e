"""Pytrees, rigid transforms, units, errors."""
