"""Results of D4 that are made up, so that their numbers are known, and a reader of pages."""

import time
from html.parser import HTMLParser

from kdcourse.common.profiles import profile
from kdcourse.experiments.complexity import D4
from kdcourse.experiments.grid import Run, RunOutcome
from kdcourse.experiments.results_folder import Results

ACCURACY = {  # by data set and arm, a number a seed
    "usps": {
        "teacher": [97.5],
        "scratch": [90, 92, 91],
        "response": [91, 92.5, 93.5],
        "intermediate": [89, 91, 90],
    },
    "digits": {
        "teacher": [95],
        "scratch": [88, 90, 86],
        "response": [90, 91, 90.5],
        "intermediate": [87, 91, 85.5],
    },
}
D4_SMOKE = D4(profile("smoke"), datasets=tuple(ACCURACY), seeds=3)
MACHINE = dict(processor="a <fast> one", threads=1, torch="2.15.0", device="cpu")
ERROR = (
    "Traceback (most recent call last):\n  File ...\n"
    "RuntimeError: <script>alert('$here & there')</script>"
)


def outcome(run: Run, accuracy: float) -> RunOutcome:
    results = dict(
        accuracy=accuracy, nll=1 / 3, n=400, recall=[accuracy, None], right="0f", parameters=10
    )
    recipe = [["Recipe", {"epochs": 1, "seed": run.seed}], {"data": "1234", "training images": 100}]
    return RunOutcome(
        results,
        recipe=recipe,
        seconds=dict(all=time.perf_counter()),
        machine=MACHINE,
        network=b"packed",
    )


def fill(folder, runs=None, failed=()):
    """Results of D4 in a folder; `failed` runs, by name without the digits at its end, fail."""
    results = Results(folder)
    results.claim(D4_SMOKE)
    for run in runs or D4_SMOKE.runs():
        made = outcome(run, ACCURACY[run.data][run.arm][run.seed])
        if run.name.rsplit("--", 1)[0] in failed:
            made = RunOutcome(error=ERROR, machine=dict(threads=1))
        results.write(D4_SMOKE, run, made)
    return folder


class Page(HTMLParser):
    """What is on a page: its text, its headings' levels, its images, and whether its elements are
    closed.
    """

    VOID = {"meta", "img", "br", "!doctype"}

    def __init__(self, path):
        super().__init__()
        self.open, self.tags, self.levels, self.images, self.parts = [], [], [], [], []
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == []
        self.text = " ".join(" ".join(self.parts).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag[0] == "h" and tag[1:].isdigit():
            self.levels.append(int(tag[1:]))
        if tag == "img":
            self.images.append(dict(attributes))
        if tag == "html":
            assert dict(attributes)["lang"] == "en"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.parts.append(data)
