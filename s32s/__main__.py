"""`python -m s32s` is the command `s32s`."""

from s32s.frontends.cli.main import main

main()
