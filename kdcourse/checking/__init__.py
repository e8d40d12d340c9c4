"""The framework of checks, which every exercise uses.

`task` is what an exercise is made of, `expect` the comparisons whose messages teach, `safe_call`
the guarded call of a learner's function, `answer_parts` the objects it is called with, `progress`
the record of what a learner has solved.
"""
