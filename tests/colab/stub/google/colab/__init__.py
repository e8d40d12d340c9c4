"""A stand-in for the package that tells a notebook that it runs on Colab."""
