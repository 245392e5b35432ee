"""`python -m imgprep` is `imgprep`."""

import sys

from imgprep.app.cli import main

sys.exit(main())
