"""The command line: `kdcourse run`, `kdcourse reproduce`, `kdcourse predict` and others.

Each command imports what it needs when it runs, so that `kdcourse --help` answers at once: PyTorch
takes seconds to import.
"""

import click

from kdcourse.cli import data, experiments, learn, ship, teach
from kdcourse.cli.group import Course


@click.group(
    cls=Course, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="kdcourse", prog_name="kdcourse")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Knowledge distillation, as a course: run its notebooks, get its data, check this machine.

    \b
    Examples:
      kdcourse doctor                          is this machine ready?
      kdcourse run                             all notebooks
      kdcourse run 03 --dataset eurosat_ms     one notebook, on real satellite tiles
      kdcourse rehearse --profile gpu          how long it would take here
      kdcourse data list                       which data sets there are, which are here
      kdcourse export data/models/student.pt   a trained network as an ONNX file
      kdcourse predict student.onnx tiles/     the class of each image
      kdcourse map student.onnx scene.tif      a map of the classes in a large scene

    KDCOURSE_DATA names the folder with the data sets, KDCOURSE_WORK the one for what the course
    makes, KDCOURSE_PROFILE the profile.
    """


for command in (
    learn.run, learn.rehearse, learn.doctor, learn.progress,
    data.data, experiments.reproduce, experiments.report,
    ship.export, ship.predict, ship.map_,
    teach.release, teach.grade, teach.badges, teach.exercises,
):  # fmt: skip
    main.add_command(command)
