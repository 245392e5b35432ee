"""The function you tried in a cell, behind REST: `imgprep serve`, or `server.start` in a cell."""
