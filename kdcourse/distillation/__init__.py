"""Objectives: what a student learns from."""

from kdcourse.distillation.objective import Combined, Objective
from kdcourse.distillation.response import CrossEntropy
from kdcourse.distillation.taps import Seen, Taps, look
from kdcourse.distillation.teacher import Teacher

__all__ = ["Combined", "CrossEntropy", "Objective", "Seen", "Taps", "Teacher", "look"]
