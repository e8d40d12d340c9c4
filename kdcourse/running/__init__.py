"""Running notebooks, estimating how long they take, and checking the machine."""
