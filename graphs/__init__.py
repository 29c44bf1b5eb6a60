"""The graphs and the small checkpoints that come with run-graph."""
