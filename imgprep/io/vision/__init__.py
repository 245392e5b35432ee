"""A vision model over HTTP (OpenAI's shape: Azure, vLLM, Ollama,
LM Studio too), asked for words of closed lists.
"""

from imgprep.io.vision.client import Said, Vision
from imgprep.io.vision.prompt import Prompt

__all__ = ["Said", "Prompt", "Vision"]
