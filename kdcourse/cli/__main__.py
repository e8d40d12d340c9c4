"""`python -m kdcourse.cli`."""

from kdcourse.cli import main

main(prog_name="kdcourse")
