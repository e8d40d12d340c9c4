"""Experiments as recipes: what was trained, on what, for how long."""
