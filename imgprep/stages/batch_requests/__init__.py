"""Request files for the batch APIs of vision models (OpenAI's shape, which Azure and vLLM read
too), and their answers.

`write` the files, `submit` them, `poll` until they are answered; or send them by other means and
`read` what came back. Requests by URL hold signed URLs: until these expire, whoever has a file can
read its pictures. So the files are for their owner alone (mode 0600), and nothing else that imgprep
writes holds such a URL.
"""

from imgprep.stages.batch_requests.answers import ANSWER, read, spent
from imgprep.stages.batch_requests.asked import TWO_DAYS_S, write
from imgprep.stages.batch_requests.files import MAX_BYTES, MAX_LINES
from imgprep.stages.batch_requests.sent import poll, submit
from imgprep.stages.batch_requests.tokens import Requests, Spent, picture_tokens

__all__ = [
    "ANSWER",
    "MAX_BYTES",
    "MAX_LINES",
    "TWO_DAYS_S",
    "Requests",
    "Spent",
    "picture_tokens",
    "poll",
    "read",
    "spent",
    "submit",
    "write",
]
