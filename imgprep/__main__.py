"""`python -m imgprep` is `imgprep`."""

import sys

from imgprep.cli import main

sys.exit(main())
