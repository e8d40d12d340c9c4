"""Small images for tests, and the splits of a data set."""

import numpy as np
from PIL import Image

RNG = np.random.default_rng(0)


def every(data):
    """(part, images, labels) of the three splits."""
    return [
        (s.name, s.take(np.arange(len(s))), s.labels) for s in (data.train, data.val, data.test)
    ]


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def folder_of(root, parts=("",), classes="abc", count=6, size=(8, 8), channels=3):
    for part in parts:
        for c, name in enumerate(classes):
            for n in range(count):
                shape = (*size, 3) if channels == 3 else size
                save(
                    root / part / name / f"{n}.png",
                    np.full(shape, (40 * c + n) % 256, dtype=np.uint8),
                )
    return root
