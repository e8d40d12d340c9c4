"""Grading that can be trusted: submissions are collected, run in a sandbox, judged outside it, and
reported.

`collect` finds notebooks, `merge` puts a student's solution cells into the instructor's notebook,
`sandbox` starts a `worker` that runs them, `protocol` defines the messages between them, `judge`
asks the checks, `report` writes tables and pages, `release` makes what learners get. `grade` puts
these together.
"""
