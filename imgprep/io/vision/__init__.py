"""A vision model over HTTP (OpenAI's shape: Azure, vLLM, Ollama,
LM Studio too), asked for words of closed lists.
"""

from imgprep.io.vision.answers import Linked, Said
from imgprep.io.vision.client import Vision
from imgprep.io.vision.prompt import Prompt

__all__ = ["Linked", "Said", "Prompt", "Vision"]
