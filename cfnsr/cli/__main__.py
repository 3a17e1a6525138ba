"""`python -m cfnsr.cli`, where the command is not on the PATH."""

from cfnsr.cli import main

main()
