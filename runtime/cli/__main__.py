"""Lets `python -m runtime.cli` be the command."""

from . import command

command()
