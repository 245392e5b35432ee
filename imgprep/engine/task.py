"""What travels between processes: tasks there, summaries back. Small, picklable, and no pixels."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from imgprep.dataset.files import Folder
from imgprep.engine.watch import Limits


@dataclass(frozen=True)
class Task:
    """A unit of work: a key that names it, and what the function needs to know."""

    key: str
    payload: Any


@dataclass(frozen=True)
class Summary:
    """What came of a task, in numbers. Two of them add up to one.

    rows, bytes: of results. attempts: requests, reads or uploads. unchanged: rows that their server
    says are as before. reasons: how many rows failed, by word. examples: sentences of failures, by
    word. parts: the files that were written. task_s: how long it took.
    """

    rows: int = 0
    bytes: int = 0
    attempts: int = 0
    unchanged: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    parts: list[str] = field(default_factory=list)
    task_s: float = 0.0

    def __add__(self, other: "Summary") -> "Summary":
        words = [*self.examples, *other.examples]
        examples = {w: self.examples.get(w, []) + other.examples.get(w, []) for w in words}
        return Summary(
            rows=self.rows + other.rows,
            bytes=self.bytes + other.bytes,
            attempts=self.attempts + other.attempts,
            unchanged=self.unchanged + other.unchanged,
            reasons=dict(Counter(self.reasons) + Counter(other.reasons)),
            examples=examples,
            parts=self.parts + other.parts,
            task_s=self.task_s + other.task_s,
        )


@dataclass(frozen=True)
class Job:
    """How the tasks of one run are done.

    fn: Task -> Summary; what it raises ends the run. split: Task -> tasks of one row each. failed:
    (Task, Loss) -> Summary, for a piece whose process was lost. folder: where the marks of started
    tasks are kept. once: fn loads a model, so each worker keeps one copy of it for the whole run (a Ray
    actor pool). threads: fn spends its time in libraries that release the GIL, so that without Ray
    threads of this process serve better than other processes. limits: of one picture; the process
    that breaks one is ended. They hold in processes of their own.
    most: so many tasks may run at once, wherever: what they ask somebody for together has a limit.
    """

    fn: Callable[[Task], Summary]
    split: Callable[[Task], list[Task]]
    failed: Callable[..., Summary]
    folder: Folder
    run_id: str
    once: bool = False
    num_gpus: float = 0
    threads: bool = False
    limits: Limits = Limits()
    most: int | None = None
