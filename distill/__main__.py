"""``python -m distill``, as torchrun starts it."""

from .cli import main

main()
