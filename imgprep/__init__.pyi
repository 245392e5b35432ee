from imgprep import dataset as dataset
from imgprep import models as models
from imgprep import sample as sample
from imgprep import serve as serve
from imgprep.display import report as report
from imgprep.display import show as show
from imgprep.engine import close as close
from imgprep.engine import session as session
from imgprep.failures import RunStopped as RunStopped
from imgprep.picture import codec as codec
from imgprep.picture import enhance as enhance
from imgprep.picture import geometry as geometry
from imgprep.picture import ocr as ocr
from imgprep.project import resolve as resolve
from imgprep.project import resolve_input as resolve_input
from imgprep.rows import annotations as annotations
from imgprep.rows import labels as labels
from imgprep.rows import sources as sources
from imgprep.rows import splits as splits
from imgprep.stages import batch_requests as batch_requests
from imgprep.stages import exports as exports
from imgprep.stages import film as film
from imgprep.stages import images as images
from imgprep.stages import pairs as pairs
from imgprep.stages import publish as publish
from imgprep.stages import search as search
from imgprep.stages import segmentation as segmentation
from imgprep.stages import tags as tags
from imgprep.stages import upload as upload
from imgprep.stages import variants as variants

__version__: str
CONTENTS: dict[str, str]
FUNCTIONS: dict[str, str]
