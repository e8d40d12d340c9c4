"""Shipping the student: a file that answers without the course, and what it takes to use it.

`export` makes the file, `quantise` makes it small, `predict` uses it. Nothing here is imported by
itself: `predict` runs where there is no torch.
"""
