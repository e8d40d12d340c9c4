"""Progress bars, by tqdm: in a notebook a widget, elsewhere a line of text."""

import os


def bar(iterable=None, *, shown: bool, **options):
    """A tqdm bar that takes itself away when it is done and comes only to work that takes longer
    than a second.

    options: tqdm's. Environment variable TQDM_DISABLE set: none, whatever `shown` says; so
    notebooks are executed to be kept, in which a bar would stand still for ever.
    """
    from tqdm.auto import tqdm  # takes a moment, and `kdcourse predict` is to start at once

    return tqdm(
        iterable, delay=1, leave=False, disable=not shown or "TQDM_DISABLE" in os.environ, **options
    )
