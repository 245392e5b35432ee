"""A dataset repository on the Hugging Face Hub: who may write there, and what stands in it.

Every failure is one sentence: ValueError for what the user can mend, RunStopped for what time or
the Hub mends. `repo` asks, `sending` puts files in, `faults` are the sentences.
"""

from imgprep.io.hub.repo import Repo
from imgprep.io.hub.sending import File

__all__ = ["File", "Repo"]
