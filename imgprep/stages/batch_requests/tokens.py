"""What requests take, before and after: tokens, and what these cost."""

from dataclasses import dataclass
from math import ceil

from imgprep.words import number_of

MILLION = 1e6


@dataclass
class Requests:
    """What was, or would be, written: files of requests, their bytes, and the tokens of prompts and
    pictures."""

    files: int = 0
    requests: int = 0
    bytes: int = 0
    tokens: int = 0

    def usd(self, price_in: float, price_out: float, *, answer_tokens: int = 200) -> float:
        """What it costs, at prices per million tokens; those of a batch are often half."""
        answers = self.requests * answer_tokens
        return (self.tokens * price_in + answers * price_out) / MILLION

    def __repr__(self) -> str:
        files = number_of(self.files, "file")
        size = f"{self.bytes:,} bytes, about {self.tokens:,} tokens"
        return f"{number_of(self.requests, 'request')} in {files}, {size}"


@dataclass(frozen=True)
class Spent:
    """What answers took, as the service itself counted."""

    tokens_in: int = 0
    tokens_out: int = 0

    def usd(self, price_in: float, price_out: float) -> float:
        """What it cost, at prices per million tokens; those of a batch are often half."""
        return (self.tokens_in * price_in + self.tokens_out * price_out) / MILLION

    def __repr__(self) -> str:
        return f"{self.tokens_in:,} tokens in, {self.tokens_out:,} out"


def picture_tokens(width: int, height: int, model: str = "gpt-4o") -> int:
    """What gpt-4o counts for a picture in high detail (OpenAI's guide "Images and vision", 2025);
    other models differ.

    It is fitted into 2048 x 2048, its shorter side to 768; each tile of 512 x 512 counts 170, and
    all of it 85; for gpt-4o-mini 5667 and 2833.

    >>> picture_tokens(1024, 1024), picture_tokens(4096, 2048)
    (765, 1105)
    >>> picture_tokens(1024, 1024, "gpt-4o-mini")
    25501
    """
    whole, tile = (2833, 5667) if "gpt-4o-mini" in model else (85, 170)
    scale = min(1, 2048 / max(width, height))
    scale *= min(1, 768 / (min(width, height) * scale))
    columns = ceil(width * scale / 512)
    rows = ceil(height * scale / 512)
    return whole + tile * columns * rows
