"""Which container a film comes in, by its first bytes: without PyAV, and before anything is opened."""

import re

SNIFF_BYTES = 256
FILM_TYPES = {
    "MP4": "video/mp4",
    "QUICKTIME": "video/quicktime",
    "WEBM": "video/webm",
    "MATROSKA": "video/x-matroska",
    "AVI": "video/x-msvideo",
    "MPEGTS": "video/mp2t",
    "MPEG": "video/mpeg",
    "OGG": "video/ogg",
    "FLV": "video/x-flv",
    "ASF": "video/x-ms-asf",
}
# HEIF, AVIF, JPEG 2000 and Canon's raw are of the same family of boxes: brands of films alone.
MP4_BRAND = re.compile(rb"....ftyp(iso\w|mp4\w|M4V|avc1|av01|hvc1|hev1|dash|MSNV|3g|f4v|cmf|mmp4)", re.S)
QUICKTIME_BOX = re.compile(rb"....(ftypqt  |moov|mdat|wide|skip|free)", re.S)
TS_PACKET_BYTES = 188
TOPS = {
    b"FLV\x01": "FLV",
    b"OggS": "OGG",
    b"\x00\x00\x01\xba": "MPEG",
    b"\x00\x00\x01\xb3": "MPEG",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "ASF",
}


def film_kind(top: bytes) -> str:
    """A key of FILM_TYPES for what begins as a film of that kind; "" for all else.

    top: the first SNIFF_BYTES. Says nothing of what comes behind them.

    >>> film_kind(b"....ftypisom"), film_kind(b"....ftypavif"), film_kind(b"RIFF....AVI LIST")
    ('MP4', '', 'AVI')
    """
    if MP4_BRAND.match(top):
        return "MP4"
    if QUICKTIME_BOX.match(top):
        return "QUICKTIME"
    if top.startswith(b"\x1a\x45\xdf\xa3"):
        return "WEBM" if b"webm" in top[:64] else "MATROSKA"
    if top[:4] == b"RIFF" and top[8:12] == b"AVI ":
        return "AVI"
    if top[:1] == top[TS_PACKET_BYTES : TS_PACKET_BYTES + 1] == b"\x47":
        return "MPEGTS"
    return next((kind for begin, kind in TOPS.items() if top.startswith(begin)), "")
