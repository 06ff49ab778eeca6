"""`python -m s32s` is the command `s32s`."""

from s32s.cli import main

main()
