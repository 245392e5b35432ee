"""The process that workers are forked from."""

import multiprocessing
from multiprocessing import forkserver

# In this order: what is first has to be there before numpy is.
PRELOADED = ["imgprep.serve.one_thread", "imgprep.serve.service", "imgprep.serve.looking"]


def start_parent() -> None:
    """Start it, where it does not run yet; it goes on importing what workers need.

    Called before the server's own imports: on two cores they are done at the same time.
    """
    # Not fork: the server has threads, and a lock that one of them holds would stay locked in the
    # child. Imported once, here: a worker that was lost is back in a moment.
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOADED)
    forkserver.ensure_running()
