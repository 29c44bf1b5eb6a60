"""How a run holds no more than there is room for: measures in a stated order, each a pass."""
