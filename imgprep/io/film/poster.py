"""The picture that stands for a film, found without reading all of it."""

import math
from fractions import Fraction

import numpy as np

from imgprep.io.film.facts import check_frames
from imgprep.io.film.playback import Playback
from imgprep.io.film.reel import Reel
from imgprep.io.film.upright import still_of

POSTER_SHARE = 0.1  # of the film, before it: the very first frame is often black


def poster_of(reel: Reel) -> np.ndarray:
    """The frame at a tenth of the film, else its first one: (H, W, 3) uint8, upright.

    Raises Failure for a film without frames, or of which none can be shown as it is meant.
    """
    playback = Playback(reel)
    frame = playback.next_at(-math.inf)
    if frame is None:
        check_frames(reel)
    reel.begin(frame)
    poster = still_of(frame, reel.square_wh, reel.turn)
    seconds = POSTER_SHARE * (reel.container.duration or 0) / 1e6
    # Where there is no index the whole tenth would have to be read.
    if seconds and playback.can_seek:
        later = playback.next_at(reel.first_pts + int(Fraction(seconds) / reel.video.time_base))
        if later is not None:
            poster = still_of(later, reel.square_wh, reel.turn)
    return poster
