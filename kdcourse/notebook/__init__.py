"""What a notebook shows besides figures: the course map, quizzes, controls, badges, the set-up on
Colab.
"""
