"""Imported before all else in the process that workers are forked from: OpenBLAS on one thread.

OpenBLAS starts its threads when it is loaded, and a fork does not take them along. Sometimes a
forked child waits for them all the same, for ever, with a core of its own each. One picture to a
core is what the workers are for, so nothing is lost by it.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when numpy is imported, so it has to stand before
