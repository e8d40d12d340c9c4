"""What every part of the package may use: errors, paths, profiles, the machine, progress bars."""
