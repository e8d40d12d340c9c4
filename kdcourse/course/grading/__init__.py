"""Grading that can be trusted: submissions are collected, run in a sandbox, judged outside it, and reported.

`collect` finds notebooks, `assemble` puts a student's solution cells among the instructor's, `sandbox` starts a
`worker` that runs them, `wire` is what the two say to each other, `judge` asks the checks, `report` writes tables and
pages. `kdcourse.course.grade` puts these together.
"""
