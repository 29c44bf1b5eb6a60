"""What is kept of what was made, from run to run and from process to process."""
