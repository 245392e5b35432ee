"""What is asked of a vision model: a text,
and for each kind of tag the closed list of words it may answer with.
"""

import hashlib
import json
from typing import Any

MOODS = ("calm", "joyful", "melancholic", "tense", "mysterious", "dramatic", "playful", "neutral")
QUESTION = (
    "Tag this photograph. For each key name the words of its list that clearly fit "
    "what a viewer sees and feels, the best first, three at most; none if none fits. "
    "Use no other words."
)


class Prompt:
    """A text and its vocabulary: {"mood": ["calm", "joyful" …]}.

    `version` of an answer follows from all of it.
    """

    def __init__(
        self,
        vocabulary: dict[str, list[str]] | None = None,
        text: str = QUESTION,
        *,
        name: str = "mood",
    ):
        vocabulary = {"mood": [*MOODS]} if vocabulary is None else vocabulary
        if not isinstance(vocabulary, dict) or not vocabulary:
            raise ValueError("vocabulary is {kind: [words]}, with at least one kind")
        for kind, words in vocabulary.items():
            _check_words(kind, words)
        self.vocabulary = {kind: [*words] for kind, words in vocabulary.items()}
        self.text, self.name = text, name
        # casefold: "Calm" and "CALM" are the word; what is shown stays as the list has it.
        self._known = {
            kind: {word.casefold(): word for word in words} for kind, words in vocabulary.items()
        }

    def schema(self) -> dict[str, Any]:
        """The JSON schema of an answer, in the strictest common subset:
        all keys, no others, no lengths.
        """
        lists = {
            kind: {"type": "array", "items": {"type": "string", "enum": words}}
            for kind, words in self.vocabulary.items()
        }
        whole = {
            "type": "object",
            "additionalProperties": False,
            "required": [*lists],
            "properties": lists,
        }
        return {
            "type": "json_schema",
            "json_schema": {"name": "tags", "strict": True, "schema": whole},
        }

    def version(self, model: str, asked: dict[str, Any]) -> str:
        """What stands for this question to this model:
        12 characters that change with any word of it.
        """
        whole = [model, self.text, self.vocabulary, asked]
        # sort_keys: the order of a dict is no part of the question.
        text = json.dumps(whole, sort_keys=True, ensure_ascii=False)
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def words_of(self, answer: str) -> tuple[dict[str, list[str]], list[str]]:
        """Of an answer: the words of the lists, by kind, and those that are of none.

        ValueError where it is no JSON.

        Services that take a schema and ignore it are common, so nothing is believed.
        """
        try:
            found = json.loads(_bare(answer))
        except ValueError:
            raise ValueError(f"no JSON: {answer.strip()[:80]!r}") from None
        if not isinstance(found, dict) or not all(
            isinstance(found.get(kind), list) for kind in self.vocabulary
        ):
            raise ValueError(f"not the keys {', '.join(self.vocabulary)}: {answer.strip()[:80]!r}")
        kept: dict[str, list[str]] = {}
        left_out = []
        for kind, known in self._known.items():
            kept[kind] = []
            for word in found[kind]:
                own = known.get(str(word).strip().casefold())
                if own is None:
                    left_out.append(str(word)[:80])
                elif own not in kept[kind]:
                    kept[kind].append(own)
        if left_out and not any(kept.values()):
            raise ValueError(f"only words of no list: {', '.join(left_out[:5])}")
        return kept, left_out


def _check_words(kind: str, words: Any) -> None:
    if not isinstance(words, list | tuple) or not all(
        isinstance(word, str) and word.strip() for word in words
    ):
        raise ValueError(f"the words of {kind!r} are a list of texts, not {str(words)[:80]!r}")
    seen = [" ".join(word.split()).casefold() for word in words]
    twice = next((word for word in seen if seen.count(word) > 1), None)
    if twice is not None or not words:
        told = f"names {twice!r} twice" if words else "is empty"
        raise ValueError(f"the list of {kind!r} {told}: each word once")


def _bare(answer: str) -> str:
    """Without the fence that some models put around JSON."""
    text = answer.strip()
    if text.startswith("```"):
        text = text.strip("`").removeprefix("json")
    return text
