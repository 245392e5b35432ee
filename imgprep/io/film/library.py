"""PyAV: imported where a film is opened, and no film can name another file."""

import functools
import os
from collections.abc import Mapping
from typing import Any

from imgprep.words import extra

# No playlists, no lists of pictures, no descriptions of streams: these name files of their own.
DEMUXERS = (
    "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,ogg,flv,live_flv,asf,ivf,dv,mxf,gxf,wtv,nut,"
    "rm,swf,h264,hevc,obu,m4v,yuv4mpegpipe,wav,mp3,flac,aac,aiff,amr"
)
READ_BYTES = 1 << 18  # at once, of a Python file: each time costs a call


@functools.cache
def load_library() -> Any:
    """The module `av`, quiet. ValueError where it is not installed."""
    os.environ.setdefault("SVT_LOG", "1")  # errors; else each film for AV1 begins with a page
    try:
        import av
        import av.logging
    except ImportError:
        raise ValueError(f"films need `{extra('video')}`") from None
    # What goes wrong is said by reasons, not in the log of a worker.
    av.logging.set_level(None)
    return av


def check_library() -> None:
    """ValueError where films cannot be read here."""
    load_library()


def open_container(file: Any) -> Any:
    """A film that lies in an open, seekable file. Raises what PyAV raises."""
    return load_library().open(
        file,
        "r",
        options={"format_whitelist": DEMUXERS, "protocol_whitelist": ""},
        io_open=_refuse_other_file,
        buffer_size=READ_BYTES,
        metadata_errors="replace",
    )


def _refuse_other_file(url: str, flags: int, options: Mapping[str, str]) -> Any:
    raise PermissionError("a film may not name other files")
