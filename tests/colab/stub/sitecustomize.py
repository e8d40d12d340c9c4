"""Colab's kernels have imported its package before the first cell runs; so have the stand-in's."""

import google.colab  # noqa: F401
