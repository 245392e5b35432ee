"""A dataset folder on the Hugging Face Hub: checked, shown, put there in one visible step, and
loaded back."""

from imgprep.stages.publish.publication import Publication
from imgprep.stages.publish.publish import publish

__all__ = ["Publication", "publish"]
