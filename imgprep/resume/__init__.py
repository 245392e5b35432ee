"""Only what is missing, once: plan, run, gather, commit."""
