"""Networks as functions of a picture: an ONNX file, or a transformers model by its folder or name.

Pictures and tiles are (h, w, bands); uint8 is scaled and normalised as the model's own files say,
any other type goes in as it is. A model is read once per worker; it runs on a GPU where that worker
has one, else on one thread. No code that comes with a model is run.
"""

from imgprep.models.detectors import Boxes
from imgprep.models.enhancers import Enhancer
from imgprep.models.segmenters import Instances, Objects, Semantic, named
from imgprep.models.sliced import Detector
from imgprep.models.text_boxes import Text

__all__ = ["Boxes", "Detector", "Enhancer", "Instances", "Objects", "Semantic", "Text", "named"]
