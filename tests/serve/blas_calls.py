"""What a worker says of its threads: apart from the tests, whose imports start some of their own."""

import os


def threads_of_blas(data: bytes) -> tuple[bytes, int]:
    import numpy as np

    values = np.ones(1_000_000)
    float(values @ values)
    return b"", len(os.listdir("/proc/self/task"))


def blas_calls():
    return {"blas": threads_of_blas}
