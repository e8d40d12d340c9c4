"""What the toy notebooks of these tests have in common."""

PYTHON = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
PARAMETERS = 'profile = None\ndataset = "scenes"\nlimit = None'
