"""The operating system, with nothing of s32s."""
