"""Commands for data sets: list, describe, download and make them."""

from pathlib import Path

import click

from kdcourse.common.errors import UsageError


@click.group()
def data() -> None:
    """List, make and get data sets.

    \b
    Examples:
      kdcourse data list
      kdcourse data info eurosat_ms
      kdcourse data get fashion_mnist
      kdcourse data make scenes --count 300
    """


@data.command("list")
def list_data() -> None:
    """All data sets, and where those that are here lie."""
    from kdcourse.common.paths import data_root
    from kdcourse.data.datasets import CATALOG
    from kdcourse.running.doctor import where

    root = data_root()
    rows = [("Name", "Classes", "Channels", "Here", "Title")]
    for name, info in CATALOG.items():
        classes = str(len(info.classes)) if info.classes else "by file"
        rows.append((name, classes, str(len(info.channels)), where(info, root) or "no", info.title))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo(
            "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    click.echo(f"\nData root: {root}. More on one: kdcourse data info NAME")


@data.command()
@click.argument("name")
def info(name: str) -> None:
    """What a data set is, where it is, how to get it.

    \b
    Example:
      kdcourse data info eurosat_ms
    """
    from kdcourse.common.errors import unknown
    from kdcourse.common.paths import data_root
    from kdcourse.data.datasets import CATALOG
    from kdcourse.data.download import DOWNLOADS
    from kdcourse.running.doctor import where

    if name not in CATALOG:
        if Path(name).is_dir():
            raise UsageError(
                f"{name}: a folder of your own. Run a notebook on it: kdcourse run 01 --dataset "
                f"{name!r}"
            )
        raise unknown("data set", name, CATALOG)
    entry, root = CATALOG[name], data_root()
    here = where(entry, root)
    facts = {
        "Title": entry.title,
        "About": entry.about,
        "Classes": ", ".join(entry.classes) if entry.classes else "as the files say",
        "Channels": ", ".join(entry.channels),
        "Image size": f"{entry.image_size} pixels" if entry.image_size else "as the files have it",
        "Test set": "official" if entry.official_test else "split off by the course",
        "Source": entry.source,
        "Licence": entry.licence,
        "Layout": entry.layout,
        "Here": (here or f"no, not under {root}") + _content(entry, root),
    }
    if not here:
        facts["Get it"] = (
            f"kdcourse data get {name}" if name in DOWNLOADS else "by hand, laid out as above"
        )
    for label, fact in facts.items():
        click.echo(f"{label + ':':<12}{fact}")


def _content(entry, root: Path) -> str:
    """Number and size of the files of a data set that lies in folders, else nothing."""
    from dataclasses import replace

    folder = replace(entry, archives=()).find(root) if entry.folders else None
    if folder is None:
        return ""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return f" ({len(sizes):,} files, {sum(sizes) / 1e6:,.1f} MB)"


@data.command()
@click.argument("name")
def get(name: str) -> None:
    """Download a data set into the data root, unless it is there.

    Broken downloads go on where they ended; checksums are compared.

    \b
    Example:
      kdcourse data get fashion_mnist
    """
    from kdcourse.data.download import get as fetch

    click.echo(f"{name}: {fetch(name)}")


@data.group()
def make() -> None:
    """Make synthetic data."""


@make.command()
@click.option(
    "--count",
    type=int,
    help="Tiles in all; those that exist are kept.  [default: as many as the course uses]",
)
@click.option("--seed", default=0, show_default=True, help="Another seed, other scenes.")
@click.option(
    "--difficulty", type=float, help="From 0 (easy) to 1 (hard).  [default: as in the course]"
)
@click.option(
    "--output",
    metavar="DIR",
    help="Folder for the tiles.  [default: where the course looks for them]",
)
@click.option("--jobs", type=int, metavar="N", help="Processes.  [default: one a core]")
def scenes(count, seed, difficulty, output, jobs) -> None:
    """Write synthetic Sentinel-2 tiles as GeoTIFFs in EuroSAT's layout.

    \b
    Examples:
      kdcourse data make scenes
      kdcourse data make scenes --count 100 --seed 1 --output my_scenes
    """
    from kdcourse.common.paths import work_dir
    from kdcourse.data.datasets import SCENES
    from kdcourse.data.scenes import DEFAULT_DIFFICULTY, make_scenes

    folder = make_scenes(
        output or work_dir() / "scenes",
        SCENES if count is None else count,
        seed=seed,
        difficulty=DEFAULT_DIFFICULTY if difficulty is None else difficulty,
        jobs=jobs,
    )
    click.echo(f"Scenes: {folder}")


@make.command()
@click.option("--size", default=2048, show_default=True, metavar="N", help="Pixels a side.")
@click.option("--seed", default=0, show_default=True, help="Another seed, another land.")
@click.option(
    "--output", default="scene.tif", show_default=True, metavar="FILE", help="The GeoTIFF."
)
def wide(size, seed, output) -> None:
    """Write one large synthetic Sentinel-2 scene as a GeoTIFF, for `kdcourse map`.

    \b
    Example:
      kdcourse data make wide --size 4096 --output scene.tif
    """
    from kdcourse.data.large_scene import make_wide_scene

    make_wide_scene(output, size, seed=seed)
    click.echo(f"Scene: {output}")
