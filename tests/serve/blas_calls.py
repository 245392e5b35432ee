"""What a worker says of its threads and its memory: apart from the tests, whose imports start some of their own."""

import os
import resource


def threads_of_blas(data: bytes) -> tuple[bytes, int]:
    import numpy as np

    values = np.ones(1_000_000)
    float(values @ values)
    return b"", len(os.listdir("/proc/self/task"))


def pages_of_a_second_picture(data: bytes) -> tuple[bytes, int]:
    """Pages that the system has to give for 8 MiB, when as much was freed a moment before."""
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        held = [b"x" * (1 << 20) for _ in range(8)]
        del held
    return b"", resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def blas_calls():
    return {"blas": threads_of_blas, "memory": pages_of_a_second_picture}
