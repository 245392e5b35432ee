"""Silence of descriptor 2 begins and ends with its block, also where blocks overlap."""

import subprocess
import sys

CODE = """
import os, threading
from imgprep.quiet import silent_stderr
inside, leave = threading.Event(), threading.Event()
def long():
    with silent_stderr():
        inside.set()
        leave.wait()
        os.write(2, b"hidden ")
thread = threading.Thread(target=long)
os.write(2, b"before ")
thread.start()
inside.wait()
with silent_stderr():
    os.write(2, b"hidden ")
os.write(2, b"hidden too: the other thread is still inside ")
leave.set()
thread.join()
os.write(2, b"after")
os.close(2)
with silent_stderr():
    print("fine without a descriptor")
"""


def test_the_last_block_that_ends_gives_the_descriptor_back():
    told = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert told.stderr == "before after"
    assert told.stdout == "fine without a descriptor\n"
