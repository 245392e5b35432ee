"""Object stores by URI: az:// (Azure Blob), s3:// (and what speaks it), gs://, a folder, memory://.

Credentials come from the environment, as each service's own tools read them, or from one variable
that is named. `store` puts and gets, `kinds` is what differs between services, `faults` are the
sentences.
"""

from imgprep.io.stores.faults import StoreError
from imgprep.io.stores.kinds import RETRIES
from imgprep.io.stores.store import FOREVER, Store

__all__ = ["FOREVER", "RETRIES", "Store", "StoreError"]
