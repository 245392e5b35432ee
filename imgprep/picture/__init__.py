"""One picture in memory: no files, no network. A new operator goes here."""
