"""Commands that ship a network: export, predict and map."""

import sys
from pathlib import Path

import click

from kdcourse.cli.group import tidy_when_killed


@click.command()
@click.argument("checkpoint")
@click.option(
    "--format", "kind", default="onnx", show_default=True, help="onnx, or pt2 (PyTorch's own)."
)
@click.option("--int8", is_flag=True, help="Quantise it, calibrated on validation images (onnx).")
@click.option(
    "--output",
    metavar="FILE",
    help="The file to write.  [default: named after the checkpoint, here]",
)
@click.option("--dataset", help="Data to compare answers on.  [default: what it was trained on]")
@click.option(
    "--no-check",
    is_flag=True,
    help="Go without data: answers are compared on made-up images alone.",
)
def export(checkpoint, kind, int8, output, dataset, no_check) -> None:
    """Write a trained network to one file that takes raw images, and compare its answers.

    CHECKPOINT: a file that `load_or_train` kept, in the folder models/ of the work folder.

    Normalisation is in the file; class names, bands and image size are in its metadata. It is
    written only if its logits are within 1e-4 (of the largest) of PyTorch's in float32. int8
    differs more: by how much is shown.

    \b
    Examples:
      kdcourse export data/models/student-0123456789abcdef.pt
      kdcourse export student.pt --int8 --output student.int8.onnx
      kdcourse export student.pt --format pt2 --no-check

    Needs the extra `deploy`.
    """
    from kdcourse.shipping.export import export_checkpoint

    with tidy_when_killed():
        done = export_checkpoint(
            checkpoint, output, format=kind, int8=int8, dataset=dataset, check=not no_check
        )
    click.echo(str(done))


@click.command()
@click.argument("model")
@click.argument("paths", nargs=-1, required=True, metavar="FILES...")
@click.option(
    "--csv",
    "output",
    metavar="OUT",
    help="Also write a CSV file with the probabilities of all classes.",
)
@click.option("--batch-size", default=64, show_default=True, metavar="N", help="Images at a time.")
def predict(model, paths, output, batch_size) -> None:
    """The class of each image, and its probability: file, class, probability, with tabs between.

    MODEL: an ONNX file of `kdcourse export`. FILES: GeoTIFFs or images, as the model takes them, or
    folders. They are resized to the model's size as the training images were. PyTorch is not
    needed.

    \b
    Examples:
      kdcourse predict student.onnx tile.tif
      kdcourse predict student.onnx tiles/ --csv classes.csv

    Status: 0 all done, 1 a file could not be used (it is named, the others are done), 2
      a wrong argument.
    """
    from kdcourse.common.errors import DataError
    from kdcourse.shipping import predict as shipped

    network, status = shipped.Model(model), 0
    with shipped.table(output, network.classes) as write:
        for path, answer in shipped.predict(network, paths, batch_size):
            if isinstance(answer, DataError):
                click.echo(f"{answer}", err=True)
                status = 1
                continue
            best = answer.argmax()
            click.echo(f"{path}\t{network.classes[best]}\t{answer[best]:.4f}")
            write(path, answer)
    sys.exit(status)


@click.command("map")
@click.argument("model")
@click.argument("scene")
@click.option("--output", metavar="FILE", help="The map.  [default: SCENE_map.tif, here]")
@click.option(
    "--tile",
    default=64,
    show_default=True,
    metavar="N",
    help="Pixels a side of what gets one class.",
)
@click.option(
    "--step",
    type=int,
    metavar="N",
    help="Finer: a class for every N pixels, of the tile around them.",
)
def map_(model, scene, output, tile, step) -> None:
    """Classify a large scene tile by tile, and write the classes as a map.

    MODEL: an ONNX file of `kdcourse export`. SCENE: a GeoTIFF with the model's bands, of any size.
    It is read strip by strip. The map is a GeoTIFF of the same size and place, with a colour table
    and the names of the classes in its tags; where the scene has no data it has none. PyTorch is
    not needed.

    \b
    Examples:
      kdcourse data make wide --output scene.tif
      kdcourse map student.onnx scene.tif --output map.tif
      kdcourse map student.onnx scene.tif --step 16
    """
    from kdcourse.shipping import maps
    from kdcourse.shipping.predict import Model

    output = output or f"{Path(scene).stem}_map.tif"
    click.echo(str(maps.classify(Model(model), scene, output, tile=tile, step=step)))
