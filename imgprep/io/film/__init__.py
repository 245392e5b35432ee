"""Films, read and written by PyAV (the libraries of ffmpeg): one film at a time, no dataset.

`reel` opens one, `facts` says what it is and what is wrong with it, `playback` finds frames by
their times, `chosen` says which are taken, `upright` makes pictures of them.
"""

from imgprep.io.film.library import check_library
from imgprep.io.film.reel import FilmError, Reel

__all__ = ["FilmError", "Reel", "check_library"]
