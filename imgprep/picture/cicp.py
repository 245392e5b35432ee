"""Colours that are named by numbers (ITU-T H.273: cICP of PNG, nclx of HEIC and AVIF)."""

import struct
from functools import lru_cache

import numpy as np

Matrix = np.ndarray  # 3 x 3

# x and y of red, green, blue and white.
D65 = (0.3127, 0.3290)
ILLUMINANT_C = (0.310, 0.316)
PRIMARIES = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), D65),  # BT.709, sRGB
    4: ((0.670, 0.330), (0.210, 0.710), (0.140, 0.080), ILLUMINANT_C),  # NTSC of 1953
    5: ((0.640, 0.330), (0.290, 0.600), (0.150, 0.060), D65),  # PAL
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), D65),  # NTSC
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), D65),  # SMPTE 240M
    8: ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049), ILLUMINANT_C),  # film
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), D65),  # BT.2020
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),  # DCI-P3
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), D65),  # Display P3
    22: ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), D65),  # EBU Tech 3213
}
# Curves of television are shown as sRGB, as browsers do with pictures; 2 is "unspecified".
AS_SRGB = (1, 2, 6, 13, 14, 15)
GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}

D50 = np.array([0.9642, 1.0, 0.8249])
BRADFORD = np.array(
    [
        [0.8951, 0.2664, -0.1614],
        [-0.7502, 1.7135, 0.0367],
        [0.0389, -0.0685, 1.0296],
    ]
)


@lru_cache(maxsize=64)
def cicp_profile(primaries: int, transfer: int) -> bytes | None:
    """An ICC profile (version 4) of these colours.

    None where they are sRGB, unknown or unspecified, and for PQ and HLG, which need tone mapping.
    Which matrix made luma and chroma of them is the decoder's affair.

    >>> cicp_profile(1, 13), cicp_profile(9, 16), cicp_profile(12, 13)[36:40]
    (None, None, b'acsp')
    """
    if primaries not in PRIMARIES or (primaries == 1 and transfer in AS_SRGB):
        return None
    if transfer in AS_SRGB:
        # The standard's curve, linear near black.
        curve = _curve(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    elif transfer in GAMMAS:
        curve = _curve(0, GAMMAS[transfer])
    else:
        return None
    red, green, blue = _colorants(primaries).T
    tags = {
        b"desc": _text(f"H.273 {primaries}/{transfer}"),
        b"cprt": _text("CC0"),
        b"wtpt": _point(D50),
        b"rXYZ": _point(red),
        b"gXYZ": _point(green),
        b"bXYZ": _point(blue),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    return _profile(tags)


def _colorants(primaries: int) -> Matrix:
    """Red, green and blue as columns of XYZ, adapted to D50 (Bradford), which ICC counts in."""
    *colours, white = PRIMARIES[primaries]
    unscaled = np.array([_xyz(*colour) for colour in colours]).T
    white_xyz = _xyz(*white)
    share = np.linalg.solve(unscaled, white_xyz)
    cones = (BRADFORD @ D50) / (BRADFORD @ white_xyz)
    adapted = np.linalg.inv(BRADFORD) @ np.diag(cones) @ BRADFORD
    return np.asarray(adapted @ (unscaled * share))


def _xyz(x: float, y: float) -> np.ndarray:
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _fixed(value: float) -> bytes:
    """ICC's s15Fixed16Number."""
    return struct.pack(">i", round(value * 65536))


def _curve(kind: int, *parameters: float) -> bytes:
    numbers = b"".join(map(_fixed, parameters))
    return b"para\0\0\0\0" + struct.pack(">HH", kind, 0) + numbers


def _point(xyz: np.ndarray) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(map(_fixed, xyz))


def _text(words: str) -> bytes:
    raw = words.encode("utf-16-be")
    record = struct.pack(">II", 1, 12) + b"enUS" + struct.pack(">II", len(raw), 28)
    return b"mluc\0\0\0\0" + record + raw


def _profile(tags: dict[bytes, bytes]) -> bytes:
    """Header, table of tags, tags."""
    start = 128 + 4 + 12 * len(tags)
    table = struct.pack(">I", len(tags))
    bodies = b""
    for name, body in tags.items():
        table += name + struct.pack(">II", start + len(bodies), len(body))
        # Each begins at a multiple of four.
        bodies += body + b"\0" * (-len(body) % 4)
    size = struct.pack(">I", start + len(bodies))
    head = size + b"\0\0\0\0" + b"\x04\x30\0\0" + b"mntrRGB XYZ "
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    head += b"".join(map(_fixed, D50))
    return head.ljust(128, b"\0") + table + bodies
