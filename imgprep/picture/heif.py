"""The colours that HEIC and AVIF files name by numbers (nclx)."""

from imgprep.picture import cicp
from imgprep.picture.bmff import Part, parts, within


def named_colours(data: bytes) -> bytes | None:
    """An ICC profile of the colours that the `nclx` of the shown picture names, as `cicp` has it.

    None where it has none. Does not look at ICC profiles, which come before that, nor into the
    stream of the pixels, which may name colours too.
    """
    meta = within(data, None, b"meta")
    properties = within(data, meta, b"iprp", skip=4) if meta else None
    container = within(data, properties, b"ipco") if properties else None
    association = within(data, properties, b"ipma") if properties else None
    if meta is None or container is None or association is None:
        return None
    known = list(parts(data, container.start, container.end))
    for number in _properties_of(data, association, _primary_item(data, meta)):
        if not 1 <= number <= len(known):
            continue
        part = known[number - 1]
        at = part.start
        if part.kind == b"colr" and data[at : at + 4] == b"nclx":
            primaries = int.from_bytes(data[at + 4 : at + 6])
            transfer = int.from_bytes(data[at + 6 : at + 8])
            return cicp.cicp_profile(primaries, transfer)
    return None


def _primary_item(data: bytes, meta: Part) -> int:
    """The number of the picture that is shown."""
    part = within(data, meta, b"pitm", skip=4)
    if part is None:
        return 1
    version = data[part.start]
    length = 2 if version == 0 else 4
    at = part.start + 4
    return int.from_bytes(data[at : at + length])


def _properties_of(
    data: bytes,
    association: Part,
    item: int,
) -> list[int]:
    """Numbers, from 1, of the properties that an item has."""
    version = data[association.start]
    flags = int.from_bytes(data[association.start + 1 : association.start + 4])
    count = int.from_bytes(data[association.start + 4 : association.start + 8])
    item_bytes = 2 if version < 1 else 4
    number_bytes = 2 if flags & 1 else 1
    # The highest bit says that it is essential.
    most = 0x7FFF if flags & 1 else 0x7F
    at = association.start + 8
    for _ in range(count):
        if at >= association.end:
            break
        found = int.from_bytes(data[at : at + item_bytes])
        at += item_bytes
        many = data[at] if at < len(data) else 0
        at += 1
        numbers = []
        for _ in range(many):
            numbers.append(int.from_bytes(data[at : at + number_bytes]) & most)
            at += number_bytes
        if found == item:
            return numbers
    return []
