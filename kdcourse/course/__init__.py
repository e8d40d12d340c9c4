"""The course as a whole: running its notebooks, checking the machine."""
