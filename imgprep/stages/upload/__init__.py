"""Upload a dataset's pictures to an object store: the bytes as they are, and where each one is."""

from imgprep.stages.upload.places import locate_store, orphans, public
from imgprep.stages.upload.targets import check
from imgprep.stages.upload.unit import IN_FLIGHT
from imgprep.stages.upload.upload import upload

__all__ = ["IN_FLIGHT", "check", "locate_store", "orphans", "public", "upload"]
