"""`python -m ml.cli` is `flightline`."""

from ml.cli import main

main()
