"""Lay out the course as a site and build it: `make site`.

The pages are the committed notebooks, the exercises (not their solutions), docs/*.md and a
reference made from the docstrings. They are laid out in a folder of their own, so that nothing is
written beside the sources; links between them are kept, links to other files of the repository lead
to the repository. Nothing is fetched.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from pkgutil import walk_packages
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
GROUPS = (
    "data", "models", "evaluation", "training", "distillation", "shipping", "curriculum", "plots",
    "experiments",
    "checking", "exercises", "grading", "notebook", "running", "common",
)  # fmt: skip
ANSWERS = re.compile(r"\.(ex\d\d_\w+|bug_cases)(\.|$)")  # modules with the answers to exercises
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)")  # a relative link's path
NOTEBOOK_LINK = re.compile(
    r'(<a href="(?![a-z]+:)[^"#]+)\.ipynb(?=")'
)  # in an output, such as the course's map
BADGE = re.compile(r"!\[Open in Colab\]\([^)]*\)")

Pages = dict[str, str]  # place on the site → text


def sources() -> dict[str, Path]:
    """Place on the site → file of the repository."""
    found = {path.name: path for path in (ROOT / "docs").glob("*.md")}
    found |= {"README.md": ROOT / "README.md", "contributing.md": ROOT / "CONTRIBUTING.md"}
    found["benchmarks.md"] = ROOT / "benchmarks" / "README.md"
    for folder in ("notebooks", "exercises"):
        found |= {f"{folder}/{path.name}": path for path in sorted((ROOT / folder).glob("*.ipynb"))}
    return found


def mended(text: str, path: Path, place: str, places: dict[Path, str], repository: str) -> str:
    """Markdown of the file `path`, its relative links made those of a page at `place`."""

    def mend(link: re.Match) -> str:
        target = Path(os.path.normpath(path.parent / unquote(link[1])))
        if target in places:
            return os.path.relpath(places[target], Path(place).parent)
        if target.suffix in (".png", ".svg"):
            return os.path.relpath(target.name, Path(place).parent)
        return f"{repository}/tree/main/{target.relative_to(ROOT)}" if target.exists() else link[1]

    return LINK.sub(mend, text)


def course_pages() -> Pages:
    """Notebooks and texts of the repository."""
    found = sources()
    places = {path: place for place, path in found.items()} | {
        ROOT / "reference/index.md": "reference/index.md"
    }
    repository = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "urls"
    ]["Repository"]
    pages = {}
    for place, path in found.items():
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".md":
            pages[place] = mended(text, path, place, places, repository)
            continue
        notebook = json.loads(text)
        for cell in notebook["cells"]:
            for output in cell.get("outputs", ()):
                if markup := output.get("data", {}).get("text/html"):
                    output["data"]["text/html"] = NOTEBOOK_LINK.sub(r"\1.html", "".join(markup))
            if cell["cell_type"] == "markdown":
                source = BADGE.sub(
                    "Open in Colab", "".join(cell["source"])
                )  # the badge's picture is elsewhere
                cell["source"] = mended(source, path, place, places, repository)
        pages[place] = json.dumps(notebook)
    return pages


def reference_pages() -> Pages:
    """A page for each part of the package, as the house is: its modules by docstrings and
    signatures.
    """
    import kdcourse

    names = [module.name for module in walk_packages(kdcourse.__path__, "kdcourse.")]
    groups = {group: [n for n in names if n.startswith(f"kdcourse.{group}.")] for group in GROUPS}
    pages = {}
    for group, modules in groups.items():
        package = automodule(f"kdcourse.{group}", ":no-members:", ":no-index:")
        text = [f"# kdcourse.{group}", package]
        for name in modules:
            if not ANSWERS.search(name):
                text.append(
                    "## "
                    f"{name.removeprefix(f'kdcourse.{group}.')}\n\n`{name}`\n\n{automodule(name)}"
                )
        pages[f"reference/{group}.md"] = "\n\n".join(text) + "\n"
    pages["reference/cli.md"] = command_line()
    about = "What each part of the package offers: signatures, shapes, sources, errors."
    pages["reference/index.md"] = f"# Reference\n\n{about}\n\n" + toctree(
        ["cli", *groups], depth=2, hidden=False
    )
    return pages


def automodule(name: str, *options: str) -> str:
    return "\n".join(
        ["```{eval-rst}", f".. automodule:: {name}", *(f"   {option}" for option in options), "```"]
    )


def command_line() -> str:
    """Each command's --help."""
    import click

    from kdcourse.cli import main

    def helps(command, context):
        yield f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```"
        for name in getattr(command, "commands", {}):
            part = command.commands[name]
            yield from helps(part, click.Context(part, info_name=name, parent=context))

    return (
        "# Command line\n\n"
        + "\n\n".join(helps(main, click.Context(main, info_name="kdcourse")))
        + "\n"
    )


def toctree(pages: list[str], caption: str = "", depth: int = 1, hidden: bool = True) -> str:
    options = (
        [f":caption: {caption}"] * bool(caption) + [":hidden:"] * hidden + [f":maxdepth: {depth}"]
    )
    return "\n".join(["```{toctree}", *options, "", *pages, "```", ""])


def lay_out(folder: Path) -> None:
    """Write all pages into `folder`, with the table of contents at the end of index.md."""
    pages = course_pages() | reference_pages()
    notebooks, exercises = (
        [p for p in pages if p.startswith(f"{f}/")] for f in ("notebooks", "exercises")
    )
    texts = sorted(
        {p for p in pages if "/" not in p} - {"index.md", "README.md"},
        key=lambda p: (p != "errors.md", p),
    )
    contents = {
        "The course": notebooks,
        "Exercises": exercises,
        "Texts": texts,
        "Package": ["reference/index.md"],
    }
    pages["index.md"] += "".join(
        "\n" + toctree(found, caption) for caption, found in contents.items() if found
    )
    for place, text in pages.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text, encoding="utf-8")
    for picture in (ROOT / "docs").glob("*.png"):
        shutil.copy(picture, folder)


# --- links ----------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Where a page's links lead, what it loads, and which anchors it has."""

    def __init__(self, text: str):
        super().__init__()
        self.links, self.loads, self.anchors = set(), set(), {"", "top"}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.anchors |= {found[name] for name in ("id", "name") if found.get(name)}
        for name in ("href", "src"):
            if found.get(name) and not found[name].startswith("data:"):
                (self.links if tag == "a" else self.loads).add(found[name])


def check_links(site: Path) -> tuple[list[str], list[str]]:
    """Links and files that are not there, anchors included, and all links that lead away (not
    looked at).
    """
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    pages = {
        path: page for path, page in pages.items() if "_static" not in path.parts
    }  # the theme's own templates
    broken, away = [], set()
    for path, page in pages.items():
        for link in sorted(page.links | page.loads):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.loads and "canonical" not in link:
                    broken.append(
                        f"{path.relative_to(site)} loads {link}: the site is to work offline"
                    )
                away.add(link)
                continue
            target = (
                Path(os.path.normpath(path.parent / unquote(parts.path))) if parts.path else path
            )
            if not target.is_file():
                broken.append(f"{path.relative_to(site)}: {link} is not there")
            elif target in pages and unquote(parts.fragment) not in pages[target].anchors:
                broken.append(f"{path.relative_to(site)}: {link}: no such anchor")
    return broken, sorted(away)


def build(site: Path, layout: Path) -> int:
    """Lay out, build, check links. The status: 0, or not if anything is amiss."""
    for folder in (site, layout):
        shutil.rmtree(folder, ignore_errors=True)
    lay_out(layout)
    options = [
        "-W",
        "--keep-going",
        "-q",
        "-b",
        "html",
        "-c",
        ROOT / "docs",
        "-d",
        layout / ".doctrees",
    ]
    if status := subprocess.run(
        [sys.executable, "-m", "sphinx", *options, layout, site]
    ).returncode:
        return status
    broken, away = check_links(site)
    (layout / "links-elsewhere.txt").write_text("\n".join(away) + "\n", encoding="utf-8")
    print("\n".join(broken), file=sys.stderr, end="\n" * bool(broken))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(build(*map(Path, sys.argv[1:3])))
