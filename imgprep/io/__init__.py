"""What is not ours, one system each. Knows no dataset and no engine."""
