"""Objectives: what a student learns from."""

from kdcourse.distillation.response import CrossEntropy

__all__ = ["CrossEntropy"]
