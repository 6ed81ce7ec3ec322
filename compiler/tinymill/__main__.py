"""python -m tinymill."""

from .cli import main

main()
