"""How the embedded checkpoints were trained and scored; not part of the installed package."""
